"""The page of an evaluation."""

import json
import re
from dataclasses import replace

import pytest

from r1reward_jax import report
from r1reward_jax.evals.summary import summarize
from r1reward_jax.evals.types import Judgement
from tests.evals.synthetic import simulate, write_run
from tests.report.conftest import HOSTILE


def make(folder, judged, **more):
    about = {"benchmark": "vl_rewardbench", "model": "m"} | more
    summary = summarize(judged, convention="left_out", **about)
    return write_run(folder, judged, summary.to_json())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("evaluation") / "first", simulate(), units=True)


@pytest.fixture(scope="module")
def path(folder, tmp_path_factory):
    return report.write([str(folder)], str(tmp_path_factory.mktemp("page") / "report.html"))


def test_what_is_shown(visit, path, folder):
    page = visit(path)
    section = page.locator("#evaluation")
    found = json.loads((folder / "evaluation.json").read_text())["overall"]
    cards = section.locator(".card").all_inner_texts()
    titles = [card.split("\n")[0] for card in cards]
    assert titles == [
        *("Accuracy", "Majority of 15 votes", "Right in both orders"),
        *("All pairs of a unit right", "Flip rate"),
    ]
    assert f"{found['greedy']['accuracy']['value']:.3f}" in cards[0]
    table = section.locator("table").first.inner_text()
    assert "hallucination" in table and "mean over groups" in table
    official = found["greedy"]["official"]
    assert f"{official['right']} of {official['of']}" in table
    charts = [t.split("\n")[0] for t in section.locator("h4").all_inner_texts()]
    sources = ("greedy answer", "share of votes", "votes' answers")
    assert charts == ["Majority", "pass@k"] + [
        f"{kind}: {source}" for kind in ("Reliability", "Abstention") for source in sources
    ]
    assert "11 of 400 judgements have no probability" in section.inner_text()
    assert "leaves them out" in section.inner_text()
    section.locator("summary").click()
    assert "1,428,686" in section.locator("details").inner_text()
    assert page.locator("nav a").all_inner_texts() == ["Evaluation", "Samples", "Config"]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_needs_sideways_scrolling(visit, path, width):
    page = visit(path, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:]))


def test_read_outs_of_shares(visit, path):
    page = visit(path)
    chart = page.locator(".chart", has=page.locator("h4", has_text="Abstention: greedy"))
    number, at = chart.locator(".entry b").first, chart.locator(".at")
    assert at.inner_text() == "coverage 1"
    last = number.inner_text()
    chart.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    assert at.inner_text() == "coverage 0.99"
    page.keyboard.press("End")
    assert (at.inner_text(), number.inner_text()) == ("coverage 1", last)
    votes = page.locator(".chart", has=page.locator("h4", has_text=re.compile("^Majority$")))
    assert votes.locator(".at").inner_text() == "votes 15"


def test_several_runs_are_laid_over_one_another(visit, folder, tmp_path):
    scalar = [
        replace(
            j,
            group="",
            orders=tuple(Judgement(s.label, s.position, s.first_probability) for s in j.orders),
        )
        for j in simulate(30, seed=3)
    ]
    other = make(tmp_path / "second", scalar)
    page = visit(report.write([str(folder), str(other)], str(tmp_path / "two.html")))
    section = page.locator("#evaluation")
    assert section.locator(".card").first.locator(".number").count() == 2
    assert section.locator(".card").nth(1).locator(".number").count() == 1  # no votes
    captions = section.locator("caption").all_inner_texts()
    assert "first: Majority of 15 votes" in captions and "second: Greedy verdicts" in captions
    assert "second: Majority of 15 votes" not in captions
    chart = page.locator(".chart", has=page.locator("h4", has_text="Abstention: greedy"))
    assert chart.locator(".canvas path.line").count() == 4
    assert section.locator("details .numbers thead th").all_text_contents() == [
        *("number", "first", "second", "meaning")
    ]


def test_models_that_never_answer_have_a_page(visit, tmp_path):
    mute = [
        replace(j, orders=tuple(Judgement(s.label, None) for s in j.orders)) for j in simulate(6)
    ]
    page = visit(report.write([str(make(tmp_path / "run", mute))]))
    text = page.inner_text("#evaluation")
    assert "no verdict could be parsed" in text and "nan" not in text.lower()
    assert page.locator("#evaluation .chart").count() == 0


def test_hostile_names_stay_words(visit, tmp_path):
    judged = [replace(j, group=HOSTILE if j.row % 2 else "b", unit=HOSTILE) for j in simulate(8)]
    folder = make(tmp_path / "<b onclick=x>'&\"run", judged)
    found = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps(found | {"benchmark": HOSTILE}))
    other = make(tmp_path / "other", judged)
    page = visit(report.write([str(folder), str(other)], str(tmp_path / "x.html")))
    section = page.locator("#evaluation")
    assert HOSTILE in section.locator("p").first.inner_text()
    assert HOSTILE in section.locator("tbody th").all_inner_texts()
    assert page.locator("script").count() == 1 and page.locator("img, [onclick]").count() == 0


def test_other_forms_are_noted(visit, folder, tmp_path):
    run = write_run(tmp_path / "run", simulate(4), {"greedy": {"accuracy": 0.5}})
    page = visit(report.write([str(run)]))
    assert "of another version" in page.inner_text(".notes")
    assert page.locator("#evaluation").count() == 0
