"""What the README and the pages in docs/ say works, word for word, on a small model and small
data."""

import ast
import functools
import json
import re
import shutil
from pathlib import Path

import jax
import pytest
from PIL import Image

from r1reward_jax.annotate.simulated import SimulatedTeacher
from r1reward_jax.annotate.teacher import annotate
from r1reward_jax.cli.main import main
from r1reward_jax.config import RENAMED
from r1reward_jax.data import preferences, synthetic
from r1reward_jax.data.preferences import write_annotations, write_records
from r1reward_jax.models import qwen2_5_vl
from tests.cli.test_main import SMALL
from tests.readme import PAGES, ROOT, blocks, command, commands
from tests.test_architecture import LAYERS
from tests.train.test_step import one_device

MORE = [*SMALL[2:], "template=brief", "model.max_pixels=28224", "buckets.patches=(36,)"]
MORE += ["buckets.images=(1,)", "model.compute_dtype=float32", "data.threads=1", "wandb="]
MORE += ["judge.min_mass=0.0"]  # a judge with random weights gives Yes and No next to nothing

EVALUATED = ["rollout.slots=16", "rollout.max_new_tokens=8", "eval.samples=2"]
EVALUATED += ["template=brief", "model.max_pixels=28224"]


@pytest.fixture(scope="module")
def desk(checkpoint, tmp_path_factory):
    """A folder with what the README's commands name, in which they are run one after the other."""
    folder = tmp_path_factory.mktemp("readme")
    sizes = {"sft": 16, "rl": 16, "heldout": 4}
    things = dict.fromkeys(sizes, (1, 2, 3))
    world = synthetic.make_world(str(folder), seed=0, sizes=sizes, skills=["count"], things=things)
    teacher = SimulatedTeacher(0, (0.1, 0.5, 0.5), 0.1)
    annotated = annotate(teacher, world["sft"], max_attempts=3)
    write_annotations(f"{folder}/annotated.jsonl", annotated)
    write_records(f"{folder}/rl.jsonl", world["rl"])
    write_records(f"{folder}/heldout.jsonl", world["heldout"])
    shutil.copytree(checkpoint, folder / "Qwen2.5-VL-7B-Instruct")
    shutil.copytree(checkpoint, folder / "runs" / "quickstart" / "exported")
    shutil.copytree(ROOT / "docs", folder / "docs")
    bench = folder / "VL-RewardBench"
    bench.mkdir()
    ids = ["mathverse_1", "RLAIF-V-1", "RLAIF-V-1", "wildvision-battle-1"]
    rows = [
        {"id": i, "prompt": r.question, "chosen": r.responses[0], "rejected": r.responses[1]}
        | {"image": str(r.images[0])}
        for i, r in zip(ids, world["heldout"], strict=True)
    ]
    (bench / "vl_reward.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        one_device(patch)
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def trained(desk):
    """The same folder after a cold start, RL, an evaluation, an export and a report of them."""
    assert main([*command("sft"), *MORE, "eval.records=2"]) == 0
    assert main([*command("rl"), *MORE, "rl.kl_coef=0.01", "rl.aggregate=sequence"]) == 0
    assert main([*command("evaluate"), *EVALUATED]) == 0
    assert main([*command("convert", page="training"), "--dtype=float32"]) == 0
    assert main(command("report")) == 0
    return desk


@functools.cache
def executed() -> list[list[str]]:
    """Return the commands that the tests ask `command` for."""
    found = []
    for path in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "command":
                words, more = node.args, {k.arg: k.value for k in node.keywords}
                if all(isinstance(word, ast.Constant) for word in words):
                    given = {name: ast.literal_eval(value) for name, value in more.items() if name}
                    found.append(command(*map(ast.literal_eval, words), **given))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_executed(page):
    missing = [" ".join(words) for words in commands(page) if words not in executed()]
    assert missing == []


def test_the_readme_is_short_and_has_commands():
    assert len(PAGES["README"].splitlines()) <= 200
    assert sum(len(commands(page)) for page in PAGES) >= 15


def anchors(text: str) -> set[str]:
    """Return the anchors that a page's headings have on GitHub."""
    lines = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()
    heads = [line.lstrip("#").strip().lower() for line in lines if re.match("#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING", "CHANGELOG"])
def test_every_file_that_a_page_links_is_there(page):
    folder = ROOT if (ROOT / f"{page}.md").exists() else ROOT / "docs"
    text = (folder / f"{page}.md").read_text()
    targets = re.findall(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', text)
    for target in (a or b for a, b in targets):
        if re.match("https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = folder / name if name else folder / f"{page}.md"
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path.read_text()), f"{page}: {target}"


def test_the_layers_of_the_page_are_those_that_are_tested():
    (block,) = re.findall(r"^```\ncli\n.*?^```", PAGES["design"], re.DOTALL | re.MULTILINE)
    assert [set(line.split(", ")) for line in block.splitlines()[1:-1]] == LAYERS


def test_the_earlier_names_on_the_page_are_those_that_are_understood():
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", PAGES["configuration"], re.MULTILINE)
    assert {old: new for new, old in rows if "." in old} == RENAMED


def test_every_page_is_in_the_index():
    names = set(re.findall(r"\]\((\w+)\.md\)", PAGES["index"]))
    assert names == PAGES.keys() - {"README", "index"}


def test_from_a_cold_start_to_a_report(trained):
    desk = trained
    assert "</html>" in (desk / "compared.html").read_text()
    exported, converted = (qwen2_5_vl.load(p)[1] for p in ("runs/rl/exported", "exported"))
    rows = [json.loads(x) for x in (desk / "runs/rl/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert all(row["loss/sampler_gap_max"] < 1e-3 for row in rows[1:])  # they are one policy
    start, scored = [row for row in rows if "eval/accuracy" in row]
    for row in (start, scored):  # before the first update; the only checkpoint, the best one
        low, accuracy, high = (row[f"eval/accuracy{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low <= accuracy <= high <= 1 and row["eval/judgements_count"] == 8
    pairs = zip(jax.tree.leaves(exported), jax.tree.leaves(converted), strict=True)
    assert all((a == b).all() for a, b in pairs)
    run = json.loads((desk / "runs/rl/run.json").read_text())
    assert run["config"]["rl"]["kl_coef"] == 0.01 and run["data_hash"] and run["versions"]["jax"]
    rollouts = (desk / "runs/rl/rollouts/00001.jsonl").read_text().splitlines()
    assert len(rollouts) == 16 and "reward" in json.loads(rollouts[0])
    result = json.loads((desk / "runs/eval/evaluation.json").read_text())
    assert result["benchmark"] == "vl_rewardbench" and result["overall"]["pairs"] == 4
    assert {name: part["pairs"] for name, part in result["groups"].items()} == {
        "general": 1,
        "hallucination": 2,
        "reasoning": 1,
    }
    measured = [json.loads(x) for x in (desk / "runs/sft/metrics.jsonl").read_text().splitlines()]
    assert all(0 <= measured[-1][f"eval/{name}"] <= 1 for name in ("accuracy", "flip_frac"))
    for run in ("sft", "rl", "eval"):
        assert "</html>" in (desk / "runs" / run / "report.html").read_text()
    assert list((desk / "runs/rl/tensorboard/rl").glob("events.*"))
    settings = json.loads((desk / "runs/rl/exported/r1reward.json").read_text())
    assert settings["template"] == "brief"


def test_a_dry_run(trained, capsys):
    assert main([*command("rl", page="training", nth=1), *MORE]) == 0
    assert "no folder was claimed" in capsys.readouterr().out


def test_two_evaluations_compared(trained, capsys):
    desk, quickstart = trained, trained / "runs" / "quickstart"
    shutil.copytree(desk / "runs/sft/checkpoints/sft", quickstart / "checkpoints" / "cold_start")
    shutil.copytree(desk / "Qwen2.5-VL-7B-Instruct", quickstart / "base")
    shutil.copytree(desk / "runs/sft/exported", quickstart / "exported", dirs_exist_ok=True)
    (quickstart / "data").mkdir()
    shutil.copy(desk / "heldout.jsonl", quickstart / "data")
    shutil.copytree(desk / "images", quickstart / "data" / "images")
    assert main([*command("evaluate", page="evaluation"), *EVALUATED]) == 0
    assert main([*command("convert", page="evaluation"), "--dtype=float32"]) == 0
    assert main([*command("evaluate", page="evaluation", nth=1), *EVALUATED]) == 0
    capsys.readouterr()
    assert main(command("compare-evals")) == 0
    told = capsys.readouterr().out
    assert "overall" in told and "their configs differ in model.path" in told
    assert "+0.000" in told  # the same weights


def test_score_and_the_python_example(desk, capsys):
    assert main([*command("compare"), "--max-new-tokens", "8"]) == 0
    assert "a shown first" in capsys.readouterr().out
    compare, rank = blocks("python")
    assert len(compare.strip().splitlines()) <= 15
    exec(compare, {})
    assert "(1, 2)" in capsys.readouterr().out
    exec(rank, {})
    best, order = capsys.readouterr().out.split(maxsplit=1)
    assert best in "012" and sorted(ast.literal_eval(order)) == [0, 1, 2]
    assert not any(blocks("python", page) for page in PAGES if page != "README")


@pytest.mark.parametrize("page", ["README", "training"])
def test_the_rows_of_the_pages_are_records(page, tmp_path):
    Image.new("RGB", (28, 28)).save(tmp_path / "a.png")
    (block,) = blocks("json", page)
    for row in block.splitlines():
        (tmp_path / "rows.jsonl").write_text(row)
        (record,) = preferences.read_preferences(str(tmp_path / "rows.jsonl"))
        assert record.question == "What is on the table?" and record.preferred is not None
        assert record.responses[record.preferred - 1] == "A cup."
        assert [str(image) for image in record.images] == [str(tmp_path / "a.png")]


def test_configs_and_help(capsys):
    printed = {}
    for words in (
        command("config", "list"),
        command("config", "show"),
        command("config", "diff"),
        command("help"),
        ["completion", "bash"],
    ):
        assert main(words) == 0
        printed[words[0] if words[0] != "config" else words[1]] = capsys.readouterr().out
    assert "ablations.no_filter" in printed["list"]
    assert "step.micro_tokens = 24576 " in printed["show"]
    assert "rl.filter: paper -> released" in printed["diff"]
    assert "exit codes" in printed["help"] and "--config" in printed["help"]
    assert "r1reward" in printed["completion"]


def test_doctor(desk, capsys):
    assert main(command("doctor")) == 0
    assert "jax" in capsys.readouterr().out
