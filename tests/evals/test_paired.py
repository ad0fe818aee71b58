"""Two evaluations of the same records."""

import json
from dataclasses import replace

import pytest

from r1reward_jax.cli.main import main
from r1reward_jax.evals import paired
from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.types import InputError, other
from tests.evals.synthetic import rows, simulate, write_run

EMPTY = [
    PairJudgement(i, f"id{i}", "", str(i), (Judgement(v, None), Judgement(other(v), None)))
    for i, v in enumerate([1, 2] * 27)
]
"""54 pairs without verdicts."""


def compare(*arguments):
    """As JSON has it."""
    return paired.compare(*arguments).to_json()


def test_comparison_of_a_model_with_itself_and_a_better_one():
    a, b = simulate(120), simulate(120, seed=1, skill=3.0)
    same = compare(a, a)
    assert same["greedy"]["overall"]["difference"] == 0 and same["greedy"]["overall"]["p"] == 1.0
    found = compare(a, b)
    overall = found["greedy"]["overall"]
    assert found["votes"] == 15 and overall["low"] < overall["difference"] < overall["high"]
    assert overall["difference"] == pytest.approx(overall["b"] - overall["a"])
    assert overall["p"] < 0.05 and overall["better"] > overall["worse"]
    turned = compare(b, a)["greedy"]["overall"]
    assert turned["p"] == pytest.approx(overall["p"])
    assert turned["difference"] == -overall["difference"]
    groups = found["voting"]["groups"]
    assert list(groups) == ["general", "hallucination", "reasoning"]
    assert all(row["p_holm"] >= row["p"] for row in groups.values())
    assert sum(row["pairs"] for row in groups.values()) == 120


def test_units_are_drawn_whole():
    a, b = (simulate(90, seed=seed, per_unit=3) for seed in (0, 1))
    row = compare(a, b)["greedy"]["overall"]
    assert (row["pairs"], row["units"]) == (90, 30)


def test_few_units_that_differ():
    """Five of 54 pairs, all for one model: 2 * 2^-5, though the interval leaves 0 out."""
    b = [replace(j, orders=tuple(Judgement(s.label, s.label) for s in j.orders)) for j in EMPTY]
    missed = tuple(Judgement(s.label, None) for s in b[0].orders)
    a = [replace(j, orders=missed if j.row < 5 else j.orders) for j in b]
    row = compare(a, b)["greedy"]["overall"]
    assert (row["differ"], row["better"], row["worse"]) == (5, 5, 0)
    assert row["difference"] == pytest.approx(5 / 54)
    assert row["p"] == 0.0625 and row["low"] > 0


def finished(folder, judged, **config):
    """The folder of an evaluation that came to its end."""
    return write_run(folder, judged, {"overall": {"pairs": len(judged)}}, **config)


def stop(judged):
    """After nine votes."""
    return [
        replace(j, orders=tuple(replace(s, votes=s.votes[:9], stopped=True) for s in j.orders))
        for j in judged
    ]


def test_the_largest_common_number_of_votes():
    a, b = simulate(20, votes=10), simulate(20, votes=15)
    assert compare(a, b)["votes"] == 9
    assert compare(stop(b), stop(b), (15, 15))["votes"] == 15
    assert compare(b, stop(b), (15, 15))["votes"] == 15
    assert compare(a, stop(b), (10, 15))["votes"] is None
    none = compare(a, simulate(20, votes=0))
    assert none["votes"] is None and none["voting"] is None


def test_command(tmp_path, capsys):
    a = finished(tmp_path / "a", simulate(60), model={"path": "one"}, seed=1)
    b = finished(tmp_path / "b", simulate(60, seed=1, skill=3.0), model={"path": "two"}, seed=1)
    out = tmp_path / "found.json"
    assert main(["compare-evals", str(a), str(b), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("differ in model.path: 'one', 'two'" in line for line in lines)
    assert not any("seed" in line or "workdir" in line for line in lines)
    assert "note: fewer than 30 units differ in general (" in "\n".join(lines)
    assert "p is exact" in " ".join(lines)
    heads = [line for line in lines if line.startswith(("greedy", "voting@15"))]
    assert len(heads) == 2 and all("p (Holm)" in line for line in heads)
    assert len([line for line in lines if line.startswith("overall")]) == 2
    found = json.loads(out.read_text())
    assert found["greedy"] == compare(simulate(60), simulate(60, seed=1, skill=3.0))["greedy"]
    assert found["config"] == {"model.path": ["one", "two"]}
    rows = {kind: [record["row"] for record in found[kind]] for kind in ("lost", "won")}
    overall = found["greedy"]["overall"]
    assert (len(rows["won"]), len(rows["lost"])) == (overall["better"], overall["worse"])
    assert f"B is right where A was wrong: {len(rows['won'])} records, id-" in "\n".join(lines)
    first = found["won"][0]
    label = first["preferred"]
    assert first["b"].count(label) > first["a"].count(label) and first["id"].startswith("id-")
    page = tmp_path / "found.HTML"
    assert main(["compare-evals", str(a), str(b), "--out", str(page)]) == 0
    assert json.loads(out.read_text()) == found  # beside the page
    assert f"right where A was wrong: {len(rows['won'])}<" in page.read_text()
    assert "Greedy verdicts: B − A" in page.read_text()
    bad = ["compare-evals", str(a), str(b), "--out", str(tmp_path / "no" / "x.json")]
    assert main(bad) == 2 and "--out" in capsys.readouterr().err


def changed(folder, **fields):
    """The run with fields of its row 3, stored order, changed."""
    lines = list(rows(simulate(10)))
    finished(folder, simulate(10))
    lines[6] |= fields
    return written(folder, lines)


def written(folder, lines):
    (folder / "judgements.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "else"}, "row 3 (id 'id-1' and 'else'): id differs"),
        ({"question": "Else?"}, "row 3 (id 'id-1'): question differs"),
        ({"responses": ["a", "b"]}, "responses differs"),
        ({"group": "else"}, "group differs"),
        ({"images": ["x.png"]}, "row 3 (id 'id-1'): 0 and 1 images"),
    ],
)
def test_other_records_are_refused(tmp_path, capsys, fields, message):
    a = finished(tmp_path / "a", simulate(10))
    assert main(["compare-evals", str(a), str(changed(tmp_path / "b", **fields))]) == 2
    said = capsys.readouterr().err
    assert message in said and "evaluate both on the same data" in said


def test_other_labels_numbers_and_folders_are_refused(tmp_path, capsys):
    a = finished(tmp_path / "a", simulate(10))
    few = finished(tmp_path / "few", simulate(9))
    turned = simulate(10)
    turned[3] = replace(turned[3], orders=turned[3].orders[::-1])
    labels = finished(tmp_path / "labels", turned)
    for folder, message in (
        (few, "10 and 9 records"),
        (labels, "row 3 (id 'id-1'): preferred differs"),
        (tmp_path / "nothing", "nothing: not found"),
    ):
        assert main(["compare-evals", str(a), str(folder)]) == 2
        assert message in capsys.readouterr().err
    (few / "config.json").write_text("{")
    assert main(["compare-evals", str(few), str(few)]) == 2
    assert "config.json: not JSON" in capsys.readouterr().err


def pictured(folder, paths):
    """An evaluation of records with these images."""
    judged = simulate(len(paths))
    lines = [row | {"images": [paths[row["row"]]]} for row in rows(judged)]
    return written(finished(folder, judged), lines)


def test_other_images_are_refused_and_named(tmp_path, capsys):
    paths = ["/one/img/a/0.png", "/one/img/b/1.png", "embedded 0123456789abcdef"]
    a = pictured(tmp_path / "a", paths)
    moved = pictured(tmp_path / "moved", [p.replace("/one", "two/data") for p in paths])
    assert main(["compare-evals", str(a), str(moved)]) == 0
    said = capsys.readouterr().out
    assert "their images are in different folders: '/one/img', 'two/data/img'" in said
    assert main(["compare-evals", str(a), str(a)]) == 0
    assert "folders" not in capsys.readouterr().out
    for i, path in (
        (1, "/one/img/b/2.png"),
        (1, "/else/b/1.png"),
        (1, "/one/1.png"),
        (2, paths[0]),
        (2, "embedded fedcba9876543210"),
    ):
        b = pictured(tmp_path / f"{i}{len(path)}", [*paths[:i], path, *paths[i + 1 :]])
        assert main(["compare-evals", str(a), str(b)]) == 2
        said = capsys.readouterr().err
        assert f"row {i} (id " in said and f"images differ, {paths[i]} and {path}" in said


def test_unfinished_evaluations_are_refused(tmp_path, capsys):
    whole = finished(tmp_path / "whole", simulate(10))
    killed = write_run(tmp_path / "killed", simulate(10))
    odd = written(finished(tmp_path / "odd", simulate(10)), list(rows(simulate(10)))[:18])
    for folder, message in (
        (killed, f"{killed}: unfinished; run the same `r1reward evaluate` again"),
        (odd, "9 pairs in judgements.jsonl, 10 in evaluation.json: unfinished"),
    ):
        for other_folder in (whole, folder):
            assert main(["compare-evals", str(other_folder), str(folder)]) == 2
            assert message in capsys.readouterr().err
    # in the middle of a pair, it is still the evaluation that is named
    written(killed, list(rows(simulate(10)))[:7])
    assert main(["compare-evals", str(whole), str(killed)]) == 2
    assert "unfinished" in capsys.readouterr().err
    (whole / "evaluation.json").write_text("{")
    assert main(["compare-evals", str(whole), str(whole)]) == 2
    assert "evaluation.json: not JSON" in capsys.readouterr().err


def test_a_quickstart_has_a_summary_instead(tmp_path, capsys):
    run = write_run(tmp_path / "quickstart", simulate(10))
    (run / "run.json").write_text(json.dumps({"verb": "quickstart"}))
    assert main(["compare-evals", str(run), str(run)]) == 2
    assert "unfinished; run the same `r1reward quickstart` again" in capsys.readouterr().err
    (run / "summary.json").write_text("{}")
    assert main(["compare-evals", str(run), str(run)]) == 0


def test_records_that_one_could_not_be_shown_are_left_out():
    judged = simulate(20, seed=1)
    gone = tuple(
        replace(o, position=None, skipped=True, reason="a strip") for o in judged[3].orders
    )
    other = [*judged[:3], replace(judged[3], orders=gone), *judged[4:]]
    found = paired.compare(judged, other).greedy.overall
    assert found.pairs == 19 and found.difference == 0
    with pytest.raises(InputError, match="nothing to compare"):
        paired.compare(judged[3:4], other[3:4])
