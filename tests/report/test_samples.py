"""What is read of a run, which samples are chosen, where images are found."""

import base64
import io
import json
import os
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from etils import epath
from PIL import Image

from r1reward_jax import report
from r1reward_jax.cli.main import main
from r1reward_jax.data.benchmarks import read_benchmark
from r1reward_jax.data.preferences import write_records
from r1reward_jax.data.video import Sampling
from r1reward_jax.evals.journal import record_row
from r1reward_jax.report import page as pages
from r1reward_jax.report.curves import RL, STEP, SUPERVISED, TIMES, curves
from r1reward_jax.report.items import Item, Judged, Order, choose, read_items, spread
from r1reward_jax.report.pictures import LONGEST, Pictures
from r1reward_jax.report.read import read_rows, read_runs
from r1reward_jax.report.samples import Source, read_samples, sources
from r1reward_jax.runs.metrics import METRICS, OLD_NAMES
from r1reward_jax.types import InputError, PreferenceRecord
from tests.report.conftest import make_run, text


def samples_of(folder, name="judgements.jsonl"):
    runs = read_runs([str(folder)])
    (source,) = (s for s in sources(runs) if s.path.name == name)
    return read_samples(source, [])


def test_kinds_of_judgements_and_rollouts(run):
    judged = samples_of(run)
    wrong, flipped = ({i // 2 for i, s in enumerate(judged) if k in s.kinds} for k in KINDS[:2])
    assert flipped == {2, 7, 12, 17}
    assert wrong == {1, 6, 11, 16} | flipped  # of a flipped record one order is wrong
    assert sum("wrong" in s.kinds for s in judged) == 2 * 4 + 4
    training = [s.kinds for s in samples_of(run, "00001.jsonl")]
    assert training[3] == training[8] == {"inconsistent"}
    assert training[9] == {"wrong", "unparsable"} and training[0] == set()


KINDS = ("wrong", "flipped", "inconsistent", "unparsable")


def line(**changed):
    row = {"id": "a", "responses": ["x", "y"], "preferred": 1, "verdicts": [1], "texts": [text(1)]}
    return {**row, **changed}


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        (line(), set()),
        (line(judge=[0.4], rewards=[{"result": 1.0, "consistency": 1.0}]), {"inconsistent"}),
        (line(judge=[None], rewards=[{"result": 1.0, "consistency": 0.0}]), {"inconsistent"}),
        (line(judge=[0.6], rewards=[{"result": 1.0, "consistency": 0.0}]), set()),
        (line(rewards=[{"result": 1.0, "consistency": -1.0}]), {"inconsistent"}),
        (line(rewards=[{"result": 0.0, "consistency": 0.0}], verdicts=[2]), {"wrong"}),
        (line(verdicts=[None]), {"wrong", "unparsable"}),
        (line(verdicts=[1, 1, 2], texts=[text(1)] * 3, judge=[0.9, 0.2, 0.9]), {"inconsistent"}),
        (line(verdicts=[2, 2, 1], texts=[text(1)] * 3), {"wrong"}),
        (line(verdicts=[1], texts=[], scores=[2.0, 1.0]), set()),
        (line(preferred=None, verdicts=[2]), set()),
        (line(judge="?", rewards=7, votes=5, images=3, scores=["a", "b"]), set()),
    ],
)
def test_kinds_of_a_line(tmp_path, row, kinds):
    folder = make_run(tmp_path / "run", records=0, iterations=0)
    (folder / "judgements.jsonl").write_text(json.dumps(row) + "\n")
    (sample,) = samples_of(folder)
    assert sample.kinds == kinds


def test_orders_belong_together_by_their_words_not_their_place(tmp_path):
    """A line that is lost in the middle does not shift the pairs behind it."""
    folder = make_run(tmp_path / "run", records=10, iterations=0)
    file = folder / "judgements.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    del lines[1]
    file.write_text("".join(lines))
    flipped = {s.id for s in samples_of(folder) if s.flipped}
    assert flipped == {"held-2", "held-7"}


def items(count, kinds=(), training=False, run=0, wrong=None):
    source = Source(run, epath.Path("x"), "y" if training else "z", "", training)
    order = Order(1, None if wrong is None else False, wrong)
    return [Item((Judged(source, (i,), frozenset(kinds), (order,)),)) for i in range(count)]


def rows_of(chosen):
    return [item.judged[0].rows[0] for item in chosen]


def test_rare_kinds_come_first():
    many = items(1000, training=True)
    rare = items(3, {"unparsable"}, training=True)
    flips = items(100, {"flipped", "wrong"})
    chosen = choose([*flips, *many, *rare], limit=60, cap=20)
    assert len(chosen) == 60
    kinds = Counter(kind for item in chosen for kind in item.kinds)
    assert kinds["unparsable"] == 3 and kinds["flipped"] >= 20
    rest = rows_of(item for item in chosen if not item.kinds)
    assert min(rest) == 0 and max(rest) == 999


def test_of_wrong_ones_the_surest_are_chosen():
    found = [item for i in range(100) for item in items(1, {"wrong"}, wrong=0.5 + i / 200)]
    chosen = choose(found, limit=10, cap=10)
    assert [item.judged[0].surest_wrong for item in chosen] == [
        0.5 + i / 200 for i in range(90, 100)
    ]


def test_judgements_rollouts_and_runs_share_alike():
    found = [*items(50), *items(9000, training=True), *items(800, run=1)]
    chosen = choose(found, limit=240, cap=40)
    counted = Counter((i.judged[0].source.run, i.training) for i in chosen)
    assert counted == {(0, False): 50, (0, True): 95, (1, False): 95}
    assert choose([], limit=240, cap=40) == []


def test_a_spread_has_both_ends():
    assert spread(range(101), 3) == [0, 50, 100]
    assert spread(range(3), 9) == [0, 1, 2] and spread(range(9), 0) == []


# ------------------------------------------------------------------ images


def pictures_of(folder, samples):
    (run,) = read_runs([str(folder)])
    notes = []
    pictures = Pictures(run, samples, notes)
    return [pictures.of(sample) for sample in samples], notes


def test_images_are_found_after_a_run_has_moved(tmp_path):
    folder = make_run(tmp_path / "here", records=3, iterations=0)
    shutil.move(folder, tmp_path / "there")
    samples = samples_of(tmp_path / "there")
    found, notes = pictures_of(tmp_path / "there", samples)
    assert all(p.uri.startswith("data:image/png") for _, (p,) in found) and not notes
    assert found[0][1][0] is found[1][1][0]  # both orders, one picture


def test_questions_and_embedded_images_come_from_the_data(tmp_path):
    folder = make_run(tmp_path / "run", records=1, iterations=0)
    buffer = io.BytesIO()
    Image.new("RGB", (900, 300), "red").save(buffer, "PNG")
    record = PreferenceRecord("held-9", "Which?", ("a b", "c d"), 1, (buffer.getvalue(),))
    write_records(str(folder / "data" / "heldout.jsonl"), [record])
    rows = [
        line(id="held-9", responses=["c d", "a b"]),
        line(id="held-9", question="Which?", responses=["a b", "c d"], images=["embedded"]),
        line(id="held-9", question="Another?", responses=["a b", "c d"], images=["embedded"]),
        line(id="held-9", question="Which?", responses=["a b", "c d"], images=["gone.png"]),
    ]
    (folder / "judgements.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    found, notes = pictures_of(folder, samples_of(folder))
    (question, (first,)), (_, (second,)), (_, (third,)), (_, (fourth,)) = found
    assert question == "Which?" and first.key == second.key == fourth.key and first.uri
    data = base64.b64decode(first.uri.split(",")[1])
    assert max(Image.open(io.BytesIO(data)).size) == LONGEST and first.size == (900, 300)
    assert "not found" in third.problem and not third.uri and not notes


def encoded(color):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "PNG")
    return buffer.getvalue()


def evaluation_of(tmp_path, benchmark, data=""):
    """An evaluation's folder whose judgements are about two records with one id, question and
    responses, but with other images."""
    folder = make_run(tmp_path / "run", records=0, iterations=0)
    about = json.loads((folder / "run.json").read_text())
    about["config"]["eval"] = {"benchmark": str(benchmark), "data": str(data)}
    (folder / "run.json").write_text(json.dumps(about))
    record = PreferenceRecord("held-9", "Which?", ("a b", "c d"), 1)
    rows = []
    for color in ("red", "green"):
        shown = record_row(replace(record, images=(encoded(color),)))
        rows += [shown, shown | {"responses": ["c d", "a b"]}]
    lines = [json.dumps(line(**row)) + "\n" for row in rows]
    (folder / "judgements.jsonl").write_text("".join(lines))
    return folder


def colors(pictures):
    data = [base64.b64decode(p.uri.split(",")[1]) for _, (p,) in pictures]
    return [Image.open(io.BytesIO(d)).convert("RGB").getpixel((5, 5)) for d in data]


RED_AND_GREEN = [(255, 0, 0)] * 2 + [(0, 128, 0)] * 2


def test_embedded_images_of_a_benchmark_of_base64_lines(tmp_path):
    record = PreferenceRecord("held-9", "Which?", ("a b", "c d"), 1)
    records = [replace(record, images=(encoded(c),)) for c in ("red", "green")]
    write_records(str(tmp_path / "bench.jsonl"), records)
    folder = evaluation_of(tmp_path, tmp_path / "bench.jsonl")
    found, notes = pictures_of(folder, samples_of(folder))
    assert colors(found) == RED_AND_GREEN and not notes
    lost = evaluation_of(tmp_path / "b", tmp_path / "gone.jsonl")
    found, notes = pictures_of(lost, samples_of(lost))
    assert all("inside the data: not found" in p.problem for _, (p,) in found)


def test_embedded_images_of_a_public_benchmark_in_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    row = {"id": "held-9", "query": "Which?", "response": ["a b", "c d"], "human_ranking": [0, 1]}
    rows = [row | {"image": {"bytes": encoded(c), "path": "1.png"}} for c in ("red", "green")]
    (tmp_path / "vl" / "data").mkdir(parents=True)
    table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "vl" / "data" / "test-00000-of-00001.parquet")
    folder = evaluation_of(tmp_path, "vl_rewardbench", tmp_path / "vl")
    found, notes = pictures_of(folder, samples_of(folder))
    assert colors(found) == RED_AND_GREEN and not notes
    assert "inside the data" not in page_of(folder)


def test_images_of_both_candidates_come_in_the_order_of_the_responses(tmp_path):
    shop = tmp_path / "shop.jsonl"
    candidates = [
        {"text": text, "images": "data:image;base64," + base64.b64encode(encoded(color)).decode()}
        for text, color in (("a b", "red"), ("c d", "green"))
    ]
    shop.write_text(
        json.dumps({"id": "9", "query": "Which?", "candidates": candidates, "preferred": 1}) + "\n"
    )
    (record,) = read_benchmark(str(shop), "", Sampling())[1]
    folder = evaluation_of(tmp_path, shop)
    rows = [record_row(record), record_row(record.swapped())]
    lines = [json.dumps(line(**row)) + "\n" for row in rows]
    (folder / "judgements.jsonl").write_text("".join(lines))
    found, notes = pictures_of(folder, samples_of(folder))
    flat = [("", [picture]) for _, pictures in found for picture in pictures]
    assert colors(flat) == [(255, 0, 0), (0, 128, 0), (0, 128, 0), (255, 0, 0)] and not notes


def test_images_that_cannot_be_read_say_so(tmp_path):
    folder = make_run(tmp_path / "run", records=2, iterations=0)
    (folder / "data" / "images" / "0.png").write_bytes(b"")
    (folder / "data" / "heldout.jsonl").write_text("nothing\n")
    (folder / "data" / "images" / "1.png").unlink()
    found, notes = pictures_of(folder, samples_of(folder))
    assert "0.png" in found[0][1][0].problem and "1.png: not found" in found[2][1][0].problem
    assert len(notes) == 1 and "heldout.jsonl:1" in notes[0]


# ----------------------------------------------------- folders of somebody else


def test_images_elsewhere_are_not_shown_unless_they_are_asked_for(tmp_path):
    """The pixels of a page go wherever the page goes."""
    secret = tmp_path / "home" / "secret.png"
    secret.parent.mkdir()
    Image.new("RGB", (30, 30), "red").save(secret)
    folder = make_run(tmp_path / "run", records=1, iterations=0)
    (folder / "link.png").symlink_to(secret)
    names = [str(secret), "../home/secret.png", f"file://{secret}", f"{folder}/link.png"]
    names += ["data/images/0.png"]
    rows = [line(id=str(i), question="q", images=[name]) for i, name in enumerate(names)]
    (folder / "judgements.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (run,) = read_runs([str(folder)])
    notes, samples = [], samples_of(folder)
    pictures = Pictures(run, samples, notes)
    found = [pictures.of(sample)[1][0] for sample in samples]
    assert [bool(p.uri) for p in found] == [False] * 4 + [True]
    assert all("outside the run's folder and its data's" in p.problem for p in found[:4])
    pictures.note_places()
    assert "4 images outside" in notes[0] and str(secret.parent) in notes[0]
    assert "--outside" in notes[0]
    trusted = Pictures(run, samples, [], outside=True)
    assert all(trusted.of(sample)[1][0].uri for sample in samples)
    assert main(["report", str(folder), "--outside"]) == 0
    assert "secret.png: outside" not in (folder / "report.html").read_text()


def test_images_of_a_whole_disk_are_not_the_runs_data(tmp_path):
    folder = make_run(tmp_path / "run", records=0, iterations=0)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (30, 30), "red").save(secret)
    about = json.loads((folder / "run.json").read_text())
    about["config"]["eval"] = {"benchmark": "/x.jsonl", "data": "/"}
    (folder / "run.json").write_text(json.dumps(about))
    row = line(question="q", images=[str(secret)])
    (folder / "judgements.jsonl").write_text(json.dumps(row) + "\n")
    assert "secret.png: outside" in page_of(folder)


@pytest.mark.parametrize("kind", ["pipe", "zero", "eps", "x://", "http", "folder", "text", "null"])
def test_what_is_no_image_is_a_placeholder_with_a_reason(tmp_path, kind):
    folder = make_run(tmp_path / "run", records=0, iterations=0)
    path = folder / "a.png"
    name = {"x://": "x://a/b", "http": "http://127.0.0.1:9/a.png", "null": "a\0.png"}.get(
        kind, "a.png"
    )
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind in ("eps", "text"):
        head = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" if kind == "eps" else b"GIF?"
        path.write_bytes(head)
    row = line(question="q", images=[name])
    (folder / "judgements.jsonl").write_text(json.dumps(row) + "\n")
    page = page_of(folder)
    assert "No image. " in page and "<img" not in page


@pytest.mark.parametrize(
    "name", ["judgements.jsonl", "metrics.jsonl", "evaluation.json", "rollouts"]
)
def test_files_of_a_run_that_are_no_files_are_noted(tmp_path, name):
    folder = make_run(tmp_path / "run", records=2, iterations=1)
    path = folder / (name if name != "rollouts" else "rollouts/00001.jsonl")
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    page = page_of(folder)
    assert f"{path.name}: cannot be read (a named pipe, not a file)" in page


def test_addresses_are_no_folders(capsys):
    for name in ("http://127.0.0.1:9/run", "x://run", "file://other/run"):
        assert main(["report", name]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


DEEP = "[" * 100_000
ODD_LINES = [DEEP, "9" * 5000, "NaN", '{"a": 1e999}', "\x00", '"\\ud800"', "{" * 9999]


def test_lines_that_no_run_writes_are_counted(tmp_path):
    folder = make_run(tmp_path / "run", records=1, iterations=1)
    for name in ("judgements.jsonl", "metrics.jsonl", "rollouts/00001.jsonl"):
        with open(folder / name, "a") as file:
            file.write("".join(line + "\n" for line in ODD_LINES))
    with open(folder / "metrics.jsonl", "a") as file:
        for step in (2**60, True, -(10**4000), "1", None, 1.5):
            file.write(json.dumps({"phase": "rl", "step": step, "reward/total": 10**4000}) + "\n")
    page = page_of(folder)
    # 1e999 is an object, though no step
    assert page.count("6 lines cannot be read") == 3 and "7 lines without phase and step" in page


def test_half_a_surrogate_and_control_characters_anywhere(tmp_path, capsys):
    """They cost neither the page nor the terminal."""
    odd = "a\ud800b\x1b[2J\u202e\x00"
    folder = make_run(tmp_path / "run", records=0, iterations=0)
    row = line(id=odd, question=odd, images=[odd], group=odd, responses=[odd, "y"])
    row |= {"texts": [f"<think>**{odd}** ${odd}$</think><answer>1</answer>"], "judge": [0.5]}
    row |= {"rewards": [{odd: 1.0, "total": 1.0}]}
    swapped = row | {"responses": ["y", odd], "preferred": 2}
    (folder / "judgements.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(swapped) + "\n")
    (folder / "summary.json").write_text(json.dumps({odd: odd}))
    (folder / "skipped_rl.jsonl").write_text(json.dumps({"name": odd, "reason": odd}) + "\n")
    about = json.loads((folder / "run.json").read_text())
    about |= {"verb": odd, "commit": odd, "versions": {odd: odd}, "devices": [odd], "started": odd}
    about["config"] |= {"note": odd, "model": {"path": odd}, odd: odd}
    (folder / "run.json").write_text(json.dumps(about))
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"phase": odd, "step": 1, "at": 1.0, odd: 1.0}) + "\n")
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_bytes()
    assert not (folder / "report.html.part").exists()
    assert "a[U+D800]b␛[2J[U+202E]␀" in page.decode("utf-8") and b"\x1b" not in page
    assert "\x1b" not in capsys.readouterr().out


def test_a_report_that_fails_says_so_in_one_short_line(tmp_path, capsys, monkeypatch):
    folder = make_run(tmp_path / "run", records=1, iterations=0)

    def fail(*_, **__):
        raise ValueError("x\n\x1b[2J" + "y" * 50_000)

    monkeypatch.setattr(pages, "page", fail)
    with report.reported(str(folder)):
        pass
    said = capsys.readouterr()
    whole = said.out + said.err
    assert "no report: ValueError: x" in whole and len(whole) < 800 and "\x1b[2J" not in whole


FORMS = [
    {"schema": 1},
    {"schema": 2},
    {"schema": 2, "overall": {"pairs": "x"}, "groups": {"a": 1}, "skipped": [3]},
    {"schema": 1, "overall": 3, "groups": [], "notes": 4, "sizes": "a"},
    {"schema": "1"},
    {"schema": [1], "settings": [], "skipped": {"rows": 5}},
]


@pytest.mark.parametrize("form", FORMS)
def test_an_evaluation_of_another_form_is_noted(tmp_path, form):
    folder = make_run(tmp_path / "run", records=1, iterations=0)
    (folder / "evaluation.json").write_text(json.dumps(form))
    page = page_of(folder)
    assert "evaluation.json: " in page and 'id="samples"' in page


@pytest.mark.parametrize("value", [None, 3, [], "x", {"a": {"b": {"c": [1]}}}])
def test_configs_of_other_forms_have_a_page(tmp_path, value):
    folder = make_run(tmp_path / "run", records=1, iterations=1)
    about = json.loads((folder / "run.json").read_text())
    about["config"] |= dict.fromkeys(("rl", "eval", "data", "model", "judge", "rollout"), value)
    about |= {"versions": value, "devices": value, "started": value, "verb": "evaluate"}
    (folder / "run.json").write_text(json.dumps(about))
    assert 'id="samples"' in page_of(folder)
    about["config"] = value
    (folder / "run.json").write_text(json.dumps(about))
    assert 'id="samples"' in page_of(folder)


# ------------------------------------------------------------ broken input


def test_a_half_written_last_line_is_left_out_and_others_are_told(tmp_path):
    path = epath.Path(tmp_path / "x.jsonl")
    path.write_text('{"a": 1}\n{"a": 2}\n{"a": ')
    notes = []
    assert [r["a"] for r in read_rows(path, notes)] == [1, 2] and notes == []
    path.write_bytes(b'{"a": 1}\n[3]\n{"a" 2}\n\xff\n{"a": 4}\n')
    assert [r["a"] for r in read_rows(path, notes)] == [1, 4]
    assert notes == ["x.jsonl: 3 lines cannot be read (line 2, 3, 4)"]


def test_runs_that_are_going_on_are_read_as_far_as_they_got(tmp_path):
    folder = make_run(tmp_path / "run", finished=False)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"phase": "rl", "st')
    (run,) = read_runs([str(folder)])
    assert run.last is not None and run.last[:2] == ("rl", 3) and run.length("rl") == 5
    assert run.curves["rl"]["loss/entropy"] == ((1, None), (2, None), (3, None)) and not run.notes
    assert "Reinforcement learning, iteration 3 of 5" in page_of(folder)
    for name in ("metrics.jsonl", "judgements.jsonl"):
        (folder / name).unlink()
    shutil.rmtree(folder / "rollouts")
    assert "no metrics yet" in page_of(folder)


def page_of(folder):
    with open(report.write([str(folder)])) as file:
        return file.read()


def test_mistakes_are_told(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 2
    error = capsys.readouterr().err
    assert "holds no run" in error and len(error.strip().splitlines()) == 1
    with pytest.raises(InputError, match="no runs"):
        report.write([])
    folder = make_run(tmp_path / "run", records=1, iterations=1)
    with pytest.raises(InputError, match="cannot be written"):
        report.write([str(folder)], str(tmp_path))
    (folder / "summary.json").write_text("{")
    assert "summary.json: not JSON" in page_of(folder)
    (folder / "run.json").write_text("[1]")
    with pytest.raises(InputError, match=r"run\.json: not a JSON object"):
        report.write([str(folder)])


def test_where_pages_go(tmp_path, monkeypatch, capsys):
    a, b = (make_run(tmp_path / n / "run", records=1, iterations=1) for n in "ab")
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(a)]) == 0 and (a / "report.html").exists()
    assert str(a / "report.html") in capsys.readouterr().out
    assert report.write([str(a), str(b)]) == "report.html" and (tmp_path / "report.html").exists()
    assert report.write([str(a)], f"{tmp_path}/new/x.html") == f"{tmp_path}/new/x.html"
    assert [r.name for r in read_runs(["a/run", "b/run", "a/run"])] == [
        *("a/run", "b/run", "a/run (2)")
    ]


def test_every_record_and_sample_is_counted(run):
    found = sources(read_runs([str(run)]))
    counted = Counter(kind for item in read_items(found, []) for kind in ("all", *item.kinds))
    kinds = {"wrong": 11, "right": 39, "flipped": 4, "inconsistent": 6, "unparsable": 3}
    assert counted == {"all": 50, **kinds}


def test_metrics_of_earlier_versions_have_todays_names(tmp_path):
    """Every name that a metric once had leads to the same charts as today's."""
    old, new = (make_run(tmp_path / name, iterations=0) for name in ("old", "new"))
    for folder, names in ((old, OLD_NAMES.keys()), (new, OLD_NAMES.values())):
        rows = [
            {"phase": "rl", "step": step, "at": 1.0, "reward/total": step}
            | {name: step / (2 + i) for i, name in enumerate(names)}
            for step in (1, 2)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (a,), (b,) = (read_runs([str(folder)]) for folder in (old, new))
    assert a.curves == b.curves and OLD_NAMES.keys().isdisjoint(a.curves["rl"])
    titles = [chart.frame.title for chart in curves([a])[0].charts]
    assert {"Position bias", "Unparsable or truncated", "The judge agrees"} < set(titles)
    assert curves([a]) == curves([b])


def test_every_metric_of_a_chart_is_in_the_table():
    grouped = {metric for group in (*RL, *SUPERVISED) for metric in group.parts}
    assert (grouped | {*TIMES, STEP}) <= METRICS.keys()
