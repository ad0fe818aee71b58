"""Best of N on the embedded world: questions with one right response, and what is counted."""

import json
import random
import shutil

import pytest

from r1reward_jax.bench import rank
from r1reward_jax.cli.main import main
from r1reward_jax.data.synthetic import COLORS
from r1reward_jax.types import PreferenceRecord
from tests.readme import command


@pytest.fixture
def model(checkpoint, tmp_path):
    """The tiny checkpoint, which writes a few tokens."""
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    settings = {"template": "brief", "max_pixels": 7056, "max_new_tokens": 4, "video_rule": "max"}
    (folder / "r1reward.json").write_text(json.dumps(settings))
    return str(folder)


def test_bench_rank_counts_judgements(model, tmp_path, capsys):
    out = tmp_path / "rows.json"
    sizes = "--scenes 2 --fewest 2 --most 3 --batch 1"
    more = ["--model", model, *sizes.split(), "--out", str(out)]
    assert main([*command("bench", "rank"), *more]) == 0
    body = json.loads(out.read_text())
    names = [row["name"] for row in body["rows"]]
    assert names == ["best of 2, 2 scenes", "best of 3, 2 scenes"]
    two, three = body["other"].values()
    assert two["rank_judgements"] == two["round_robin_judgements"] == 2
    assert three["round_robin_judgements"] == 6 and 4 <= three["rank_judgements"] <= 6
    assert three["chance"] == pytest.approx(1 / 3) and three["pair_accuracy"] == 0
    assert three["agreement"] == 1  # no verdict anywhere: the given order stays
    assert body["settings"]["model"] == model and "torch" not in body["other"]
    assert "judgements" in capsys.readouterr().out
    assert main(["bench", "rank", "--model", model, "--most", "9"]) == 2
    assert "between 2 and 8 responses" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("skill", "question", "responses"),
    [
        ("color", "What color is the cross?", ("cross red", "cross blue")),
        ("count", "How many crosses are there?", ("I count one", "I count two")),
    ],
)
def test_responses_are_those_of_the_questions_kind_first(skill, question, responses):
    record = PreferenceRecord("x", question, responses, 2, ("a.png",), meta={"skill": skill})
    kinds = [{f"cross {c}" for c in COLORS}, {f"I count {n}" for n in rank.NUMBERS}]
    own, others = kinds if skill == "color" else kinds[::-1]
    for count in range(2, 9):
        made = rank._question(record, count, random.Random(0))
        assert made.responses[made.right] == responses[1]
        assert len(set(made.responses)) == len(made.responses) == count
        assert (
            set(made.responses) <= own if count <= 4 else own < set(made.responses) <= own | others
        )
