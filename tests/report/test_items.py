"""Records of one run or of several; rewards as sums; what the head says of an evaluation."""

import json
import shlex

import pytest

from r1reward_jax.report import asked, head
from r1reward_jax.report.comparison import compared
from r1reward_jax.report.items import LOST, WON, groups_of, read_items
from r1reward_jax.report.read import read_runs
from r1reward_jax.report.rewards import reward_of
from r1reward_jax.report.samples import sources
from tests.report.conftest import text


def judged(name, verdicts, *, label=1, **more):
    """Both orders of a record; verdicts are positions."""
    shared = {"id": name, "question": f"{name}?", "images": [], "votes": []}
    for order, (verdict, preferred) in enumerate(zip(verdicts, (label, 3 - label))):
        responses = ["x", "y"][:: -1 if order else 1]
        row = {"responses": responses, "preferred": preferred, "verdicts": [verdict]}
        yield shared | row | {"texts": [text(verdict)], "probabilities": [0.9]} | more


def run_of(folder, *records, verb="evaluate", **about):
    folder.mkdir(parents=True)
    body = {"verb": verb, "config": {"workdir": str(folder)}} | about
    (folder / "run.json").write_text(json.dumps(body))
    lines = [json.dumps(row) + "\n" for record in records for row in record]
    (folder / "judgements.jsonl").write_text("".join(lines))
    return folder


def items_of(*folders):
    runs = read_runs([str(folder) for folder in folders])
    return runs, read_items(sources(runs), [])


RIGHT, WRONG, FIRST = (1, 2), (2, 1), (1, 1)


def test_records_of_two_runs_are_one_item_with_what_was_won_and_lost(tmp_path):
    names = ("same", "won", "lost", "half", "flip")
    a = run_of(tmp_path / "a", *map(judged, names, (RIGHT, WRONG, RIGHT, FIRST, FIRST)))
    b = run_of(tmp_path / "b", *map(judged, names, (RIGHT, RIGHT, WRONG, RIGHT, (2, 2))))
    runs, items = items_of(a, b)
    assert [len(item.judged) for item in items] == [2] * 5
    assert [item.change for item in items] == [None, WON, LOST, WON, None]
    assert {"flipped", "wrong"} <= items[4].kinds and "right" not in items[4].kinds
    found = compared(runs, items)
    assert found is not None and found.counts == (1, 2)
    assert [line.id for line in found.lost] == ["lost"]
    assert [line.id for line in found.won] == ["won", "half"]
    assert found.lost[0].signs == [[("good", "✓")] * 2, [("bad", "✗")] * 2]
    (row,) = found.tables[0].rows
    assert row == ["overall", "5", "0.600", "0.700", "+0.100", "1", "2"]


def test_ids_that_are_the_same_by_chance_are_not_merged(tmp_path):
    a = run_of(tmp_path / "a", judged("1", RIGHT), judged("2", RIGHT))
    b = run_of(tmp_path / "b", judged("1", WRONG), judged("3", RIGHT))
    runs, items = items_of(a, b)
    assert [len(item.judged) for item in items] == [1] * 4 and compared(runs, items) is None
    part = run_of(tmp_path / "part", judged("2", WRONG))  # a --limit
    assert [len(item.judged) for item in items_of(a, part)[1]] == [1, 2]


def test_records_that_repeat_are_told_apart_by_their_order(tmp_path):
    a = run_of(tmp_path / "a", judged("1", RIGHT), judged("1", WRONG))
    b = run_of(tmp_path / "b", judged("1", RIGHT), judged("1", RIGHT))
    assert [item.change for item in items_of(a, b)[1]] == [None, WON]


def test_the_surest_wrong_judgement_of_a_record(tmp_path):
    # of the first order p(first) is 0.9 and the verdict 1, so 0.9; of the second the verdict is 2
    folder = run_of(
        tmp_path / "a",
        judged("wrong", WRONG),
        judged("half", FIRST),
        judged("votes", FIRST, probabilities=[], votes=[1, 1, 2, None, 1]),
        judged("scores", (1, None), probabilities=[], scores=[2.0, 0.0]),
        judged("odd", FIRST, probabilities=["a"], votes=[7]),
    )
    wrong, half, votes, scores, odd = (item.judged[0] for item in items_of(folder)[1])
    assert wrong.surest_wrong == pytest.approx(0.9) and half.surest_wrong == pytest.approx(0.9)
    assert votes.surest_wrong == 0.75 and wrong.confidence == pytest.approx(0.5)
    assert scores.orders[0].confidence == pytest.approx(1 / (1 + 2.718281828**-2))
    assert scores.surest_wrong is None and odd.surest_wrong is None


def test_a_skipped_record_is_neither_wrong_nor_unparsable(tmp_path):
    folder = run_of(tmp_path / "a", judged("1", (None, None), skipped=True, reason="too odd"))
    (run,), (item,) = items_of(folder)
    assert item.kinds == {"skipped"} and item.judged[0].orders[0].right is None
    (folder / "skipped_rl.jsonl").write_text('{"place": 3, "name": "rl-3", "reason": "long"}\n{\n')
    rows = [{"row": 2, "id": "7", "reason": "no image"}]
    (folder / "evaluation.json").write_text(json.dumps({"schema": 0, "skipped": {"rows": rows}}))
    (run,) = read_runs([str(folder)])
    assert head.skipped([run]).rows[0] == ["rl-3", "rl", "long"]
    assert "skipped_rl.jsonl: 1 lines cannot be read (line 2)" in run.notes


# ----------------------------------------------------------------- rewards

WEIGHTS = {"consistency_weight": 0.5, "format_weight": 0.5, "swap_weight": 0.0} | {
    "repetition_weight": 0.25,
    "length_weight": 0.0,
}
PARTS = {"format": 1.0, "result": 1.0, "consistency": 1.0, "total": 1.9, "repetition": 0.4}


def test_the_terms_of_a_reward_add_up_to_its_total():
    reward = reward_of(PARTS | {"swap": 1.0, "overlong": 1.0}, WEIGHTS)
    assert reward is not None and reward.note == "" and reward.total == "1.9"
    points = {term.name: term.points for term in reward.terms}
    assert points == {"result": 1.0, "consistency": 0.5, "format": 0.5, "repetition": -0.1}
    assert [term.sign + term.size for term in reward.terms] == ["+1", "+0.5", "+0.5", "−0.1"]
    assert reward.terms[1].how == "0.5 × 1 × result 1"


@pytest.mark.parametrize(
    ("parts", "weights", "terms", "note"),
    [
        ({"result": 0.0, "consistency": 1.0, "format": 1.0, "total": 0.5}, WEIGHTS, 4, ""),
        ({"result": 1.0, "consistency": -1.0, "format": 0.0, "total": 0.5}, WEIGHTS, 4, ""),
        (PARTS | {"total": 3.0}, WEIGHTS, 4, "the weights of the run's config give 1.9"),
        (PARTS, {}, 0, ""),
        (PARTS, {"consistency_weight": "a", "format_weight": None}, 0, ""),
        # without the consistency reward
        (
            {"result": 1.0, "format": 1.0, "total": 1.5},
            WEIGHTS | {"consistency_weight": 0.0},
            3,
            "",
        ),
    ],
)
def test_rewards_with_other_weights(parts, weights, terms, note):
    reward = reward_of(parts, weights)
    assert reward is not None and (len(reward.terms), reward.note) == (terms, note)
    assert reward_of({}, weights) is None


# -------------------------------------------------------------------- head

CONFIG = {
    "model": {"path": "a model/$(x)", "max_pixels": 501760, "freeze_vision": False},
    "eval": {"benchmark": "it's.jsonl", "samples": 5, "temperature": 1.0, "stop": "none"}
    | {"response_format": "boxed", "prompt_from": "", "data": "", "records": 9},
    "data": {"video_frames": 16, "video_fps": 2.0},
    "rollout": {"max_new_tokens": 34, "top_p": 0.9, "top_k": 0, "slots": 3},
    "template": "brief",
    "seed": 3,
}


def test_the_head_of_an_evaluation_and_a_command_that_a_shell_takes(tmp_path):
    folder = run_of(tmp_path / "a b", judged("1", RIGHT), config=CONFIG)
    (run,) = read_runs([str(folder)])
    facts = dict(head.panels([run], ["a"])[0].facts)
    assert facts["model"] == "a model/$(x)" and facts["data"] == "it's.jsonl"
    assert facts["prompt"] == "template brief, verdict read as boxed"
    assert "5 votes at temperature 1.0, top_p 0.9, at most 34 new tokens" in facts["sampling"]
    assert facts["images"].startswith("at most 501,760 pixels")
    words = shlex.split(asked.command(run))
    assert words[:6] == [
        "r1reward",
        "evaluate",
        "--model",
        "a model/$(x)",
        "--benchmark",
        "it's.jsonl",
    ]
    assert {"eval.samples=5", "seed=3", "rollout.top_p=0.9", "template=brief"} <= {*words}
    assert not {"eval.records=9", "rollout.slots=3"} & {*words}
    assert words[-2:] == ["--workdir", f"{folder}-again"] and "--response-format" in words


SETTINGS = {
    "command": "r1reward evaluate --model 'a model' eval.samples=3 --limit 4",
    "model": "a model",
    "data": ["b.jsonl", "c.jsonl"],
    "data_hash": "0123456789abcdef",
    "votes": 3,
    "temperature": 0.7,
    "top_k": 20,
    "max_new_tokens": 4096,
    "stop": "exact",
    "response_format": "boxed",
    "template": "brief",
    "prompt_from": "",
    "min_pixels": 3136,
    "max_pixels": 501760,
    "video_frames": 32,
    "video_frames_exact": True,
    "video_fps": 2.0,
    "video_rule": "max",
    "max_prompt_tokens": 16384,
    "max_response_tokens": None,
    "max_images": 16,
    "generation": {"from": "auto", "told": "generation settings: top_k=20 (checkpoint)"},
}


def evaluated(folder, *, settings=SETTINGS, judged=None, **about):
    run = run_of(folder, config=CONFIG, judged=judged, **about)
    found = {"schema": 2, "benchmark": "b", "settings": settings, "skipped": {"of": 9}}
    (run / "evaluation.json").write_text(json.dumps(found))
    return read_runs([str(run)])[0]


def test_the_head_says_what_an_evaluation_recorded(tmp_path):
    (panel,) = head.panels([run := evaluated(tmp_path / "a")], ["a"])
    facts = dict(panel.facts)
    assert facts["data"] == "b (b.jsonl, c.jsonl)" and facts["data hash"] == "0123456789ab"
    assert facts["sampling"] == (
        "one greedy answer, 3 votes at temperature 0.7, top_k 20, at most 4,096 new tokens, "
        "votes end early: exact"
    )
    assert facts["generation settings"] == "top_k=20 (checkpoint)"
    assert facts["images"] == "3,136 to 501,760 pixels; videos 2.0 frames/s, 32 frames (max)"
    assert facts["limits"] == "at most 16,384 prompt tokens, at most 16 images"
    named = dict(panel.settings)
    assert named["data hash"] == "0123456789abcdef" and named["video frames exact"] == "true"
    assert not {"command", "prompt from", "max response tokens"} & named.keys()
    words = shlex.split(asked.command(run))
    assert words[:4] == ["r1reward", "evaluate", "--model", "a model"]
    assert words[-2:] == ["--workdir", f"{run.folder}-again"]  # the old one is judged already


@pytest.mark.parametrize(
    "command",
    ["rm -rf x", "r1reward evaluate; rm x", "r1reward evaluate x; $(rm x)", "r1reward 'a", 5, None],
)
def test_a_recorded_command_runs_nothing_else(tmp_path, command):
    run = evaluated(tmp_path / "a", settings=SETTINGS | {"command": command})
    given = asked.command(run)
    words = shlex.split(given)
    assert words[:2] == ["r1reward", "evaluate"]
    shell = shlex.shlex(given, posix=True, punctuation_chars=True)
    shell.whitespace_split = True
    assert [*shell] == words  # one command


def test_scalar_models_are_not_said_to_answer(tmp_path):
    none = dict.fromkeys(("votes", "temperature", "template", "prompt_from", "response_format"))
    (panel,) = head.panels([evaluated(tmp_path / "a", settings=SETTINGS | none)], ["a"])
    facts = dict(panel.facts)
    assert "scores each response" in facts["sampling"] and "prompt" not in facts


@pytest.mark.parametrize(
    ("judged", "took"),
    [
        ({"0": {"count": 18, "seconds": 61.2}}, "1 min 1 s"),
        ({"0": {"count": 6, "seconds": 3}, "6": {"count": 12, "seconds": 4}}, "7 s in 2 parts"),
        (
            {"6": {"count": 12, "seconds": 4.0}},
            "4 s, for 12 of 18 judgements; a killed part is missing",
        ),
        ({"0": {"count": "a", "seconds": None}, "1": 3}, None),
        ([1], None),
    ],
)
def test_how_long_an_evaluation_took(tmp_path, judged, took):
    (panel,) = head.panels([evaluated(tmp_path / "a", judged=judged)], ["a"])
    assert dict(panel.facts).get("took") == took


def test_what_a_run_began_with_and_how_often_it_was_resumed(tmp_path):
    opening = {"rl": {"rl": "5 iterations", "records": "120"}, "odd": {}, "longer": "?"}
    resumed = [{}, {"changed": [{"knob": "rl.iterations", "old": 3, "new": 5}, 3]}]
    folder = run_of(tmp_path / "a", verb="rl", opening=opening, resumed=resumed)
    (panel,) = head.panels(read_runs([str(folder)]), ["a"])
    assert panel.opening == [
        ("Reinforcement learning", [("length", "5 iterations"), ("records", "120")])
    ]
    assert dict(panel.facts)["resumed"] == "2 times, with another rl.iterations"
    odd = run_of(tmp_path / "b", opening=[1], resumed="x")
    (panel,) = head.panels(read_runs([str(odd)]), ["b"])
    assert not panel.opening and "resumed" not in dict(panel.facts)


def test_parts_of_groups_stand_behind_their_groups(tmp_path):
    of = {"a": ("code", ""), "b": ("reasoning", "math"), "c": ("code", ""), "d": ("reasoning", "x")}
    runs, items = items_of(
        *(
            run_of(
                tmp_path / name,
                *(judged(r, RIGHT, group=g, subgroup=part) for r, (g, part) in of.items()),
            )
            for name in ("one", "two")
        )
    )
    assert groups_of(items) == ["code", "reasoning", "reasoning/math", "reasoning/x"]
    found = compared(runs, items)
    assert found is not None
    assert [row[:2] for row in found.tables[0].rows] == [
        *(["code", "2"], ["reasoning", "2"], ["reasoning/math", "1"], ["reasoning/x", "1"]),
        ["overall", "4"],
    ]


def test_commands_of_other_runs_and_of_what_is_recorded(tmp_path):
    other = run_of(tmp_path / "rl's", verb="rl", config={"seed": 1})
    (run,) = read_runs([str(other)])
    assert shlex.split(asked.command(run))[:4] == [
        *("r1reward", "rl", "--config", str(other / "config.json"))
    ]
    for verb, config in ((None, {"seed": 1}), (["rl"], {"seed": 1}), ("rl", {})):
        odd = run_of(tmp_path / f"{verb}{config}"[:9].replace("/", ""), verb=verb, config=config)
        assert asked.command(read_runs([str(odd)])[0]) == ""


def test_before_and_after_are_two_columns(tmp_path):
    folder = run_of(tmp_path / "a")
    found = {"cold_start_greedy_accuracy": 0.728, "rl_accuracy": 0.984, "rl_sample_accuracy": 0.9}
    (folder / "summary.json").write_text(json.dumps(found))
    table = head.before_after(read_runs([str(folder)])[0])
    assert table.rows == [["Accuracy, greedy", "0.728", "0.984", "+0.256"]]
