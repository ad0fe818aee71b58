"""The page in a browser: what is seen, what can be clicked, and that nothing gets out."""

import json
import re

import pytest

from r1reward_jax import report
from r1reward_jax.report import listing
from tests.report.conftest import HOSTILE, make_run, text

PAGE = 12


@pytest.fixture(scope="module")
def path(run, tmp_path_factory):
    return report.write([str(run)], str(tmp_path_factory.mktemp("page") / "report.html"))


def shown(page):
    """The ids of the cards that are seen, from top to bottom."""
    return page.evaluate(
        """[...document.querySelectorAll(".sample")].filter(e => e.offsetParent)
        .map(e => e.querySelector(".where .id").textContent.split(" · ").pop())"""
    )


def everything(page):
    page.evaluate("() => { while (!more.hidden) more.click(); }")
    return shown(page)


EXPECTED = {
    "all": 50,
    "wrong": sorted(
        [f"held-{i}" for i in (1, 6, 11, 16)]
        + [f"held-{i}" for i in (2, 7, 12, 17)]
        + [f"rl-{n}-9" for n in (1, 2, 3)]
    ),
    "right": 12 + 27,
    "inconsistent": sorted(f"rl-{n}-{k}" for n in (1, 2, 3) for k in (3, 8)),
    "flipped": sorted(f"held-{i}" for i in (2, 7, 12, 17)),
    "unparsable": [f"rl-{n}-9" for n in (1, 2, 3)],
}


def test_filters_show_exactly_their_samples(visit, path):
    page = visit(path)
    assert len(shown(page)) == PAGE
    for kind, expected in EXPECTED.items():
        button = page.locator(f'button[data-kind="{kind}"]')
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert page.locator('button[aria-pressed="true"]').count() == 1
        ids = everything(page)
        count = expected if isinstance(expected, int) else len(expected)
        assert len(ids) == count and (isinstance(expected, int) or sorted(ids) == expected)
        assert button.locator(".count").inner_text() == str(count)


def test_pages_sources_search_and_links(visit, path):
    page = visit(path)
    page.click("#more")
    assert len(shown(page)) == 2 * PAGE and "n=24" in page.url
    assert page.evaluate("document.activeElement.className") == "sample"
    page.select_option("#source", "=00002")
    assert {name.split("-")[1] for name in everything(page)} == {"2"}
    assert page.locator('button[data-kind="all"]').inner_text() == "All 10"
    page.select_option("#source", "training")
    page.fill("#search", "TRAINING 3?")
    assert shown(page) == ["rl-1-3", "rl-2-3", "rl-3-3"]
    page.click('button[data-kind="inconsistent"]')
    url = page.url
    assert "kind=inconsistent" in url and "source=training" in url and "q=TRAINING" in url

    before = shown(page)
    page.reload()
    assert page.url == url and shown(page) == before
    assert page.input_value("#search") == "TRAINING 3?"
    page.fill("#search", "nowhere")
    assert shown(page) == [] and "Nothing" in page.inner_text("#matching")
    page.evaluate("location.hash = 'kind=flipped&n=3'")
    page.wait_for_function("document.querySelector('#search').value === ''")
    assert everything(page) == ["held-2", "held-7", "held-12", "held-17"]
    page.evaluate("location.hash = 'kind=%3Cb%3E&source=x&n=zz'")
    page.wait_for_function("document.querySelector('button[data-kind=all]').ariaPressed === 'true'")
    assert len(shown(page)) == PAGE


def test_images_load_and_are_in_the_page_once(visit, path, run):
    page = visit(path)
    everything(page)
    page.wait_for_function("[...document.images].every(i => i.complete)")
    widths = page.evaluate("[...document.images].map(i => i.naturalWidth)")
    assert len(widths) == 50 and min(widths) > 0
    alts = page.evaluate("[...document.images].every(i => i.alt.includes('image of record'))")
    with open(path) as file:
        found = re.findall(r'src="(data:image[^"]+)"', file.read())
    assert alts and len(found) == len(set(found)) == 20


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_needs_sideways_scrolling(visit, path, width):
    page = visit(path, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    out = """[...document.querySelectorAll("h1, h2, h3, h4, p, button, select, input, img, .chart")]
        .filter(e => e.offsetParent && !e.closest(".scroll"))
        .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).length"""
    assert page.evaluate(out) == 0


def test_themes(visit, path):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    line = "getComputedStyle(document.querySelector('.canvas .s1')).stroke"
    page, dark = visit(path), visit(path, scheme="dark")
    light_colors, dark_colors = ([p.evaluate(x) for x in (ground, line)] for p in (page, dark))
    assert not set(light_colors) & set(dark_colors)
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: light" and page.evaluate(ground) == light_colors[0]
    page.click("#theme")
    assert [page.evaluate(x) for x in (ground, line)] == dark_colors
    page.reload()
    assert page.inner_text("#theme") == "Theme: dark" and page.evaluate(ground) == dark_colors[0]
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.evaluate(line) == light_colors[1]


def test_print_hides_what_cannot_be_clicked(visit, path):
    page = visit(path, scheme="dark")
    seen = len(shown(page))
    page.emulate_media(media="print")
    assert not any(e.is_visible() for e in page.locator("button, select, input").all())
    assert len(shown(page)) == seen and page.locator(".chart").first.is_visible()


def test_read_outs_follow_pointer_and_keys(visit, path):
    page = visit(path)
    chart = page.locator(".chart", has=page.locator("h4", has_text=re.compile("^Reward$")))
    number, at = chart.locator(".entry b"), chart.locator(".at")
    assert (number.inner_text(), at.inner_text()) == ("1.75", "iteration 3")
    chart.scroll_into_view_if_needed()
    box = chart.locator(".canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 9, box["y"] + 20)
    assert (number.inner_text(), at.inner_text()) == ("1.5", "iteration 2")
    cross = chart.locator(".cross").bounding_box()
    assert cross["x"] == pytest.approx(box["x"] + box["width"] / 2, abs=2)
    page.mouse.move(5, 5)
    assert number.inner_text() == "1.75" and not chart.locator(".cross").is_visible()
    chart.locator(".plot").focus()
    page.keyboard.press("Home")
    assert (number.inner_text(), at.inner_text()) == ("1.25", "iteration 1")
    page.keyboard.press("ArrowRight")
    assert at.inner_text() == "iteration 2"

    phone = visit(path, width=360)
    canvas = phone.locator(".chart .canvas").first
    canvas.scroll_into_view_if_needed()
    canvas.tap(position={"x": 2, "y": 50})
    assert phone.locator(".chart .at").first.inner_text() == "iteration 1"


def test_charts_stand_without_script(visit, path):
    page = visit(path, scripts=False)
    drawn = page.locator(".charts").first.locator(".chart")
    titles = [t.split("\n")[0] for t in drawn.locator("h4").all_inner_texts()]
    assert titles[:3] == ["Accuracy", "Reward", "Parts of the reward"] and titles[-1] == "Time"
    assert "Entropy" not in titles  # never finite
    assert drawn.first.locator("path.line").last.bounding_box()["height"] > 50
    assert not page.locator(".controls").first.is_visible() and len(shown(page)) == 50


def test_headings_are_in_order_and_the_page_has_a_language(visit, path):
    page = visit(path)
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(e => +e.tagName[1])"
    )
    assert levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:]))
    assert page.get_attribute("html", "lang") == "en"
    assert "width=device-width" in page.get_attribute("meta[name=viewport]", "content")
    named = """[...document.querySelectorAll("button, select, input")]
        .every(e => e.innerText || e.labels.length)"""
    assert page.evaluate(named)


def test_results_and_metrics_are_explained(visit, path):
    page = visit(path)
    assert "0.875" in page.locator(".card").first.inner_text()
    assert "+0.125 by RL" in page.locator(".card").first.inner_text()
    rows = page.locator("#summary table").inner_text()
    assert "1 min 1 s" in rows and "before RL" in rows
    more = page.locator(".phase details").first
    assert "something/new" not in page.locator("#curves").inner_text()
    more.locator("summary").click()
    assert "something/new" in more.inner_text() and "reward/swap" in more.inner_text()
    assert "swapped responses" in more.inner_text()


def test_hostile_words_stay_words(visit, tmp_path):
    folder = make_run(tmp_path / "<b onclick=x>'&\"run", records=1, iterations=0)
    row = {"id": HOSTILE, "question": HOSTILE, "responses": [HOSTILE, "b"], "preferred": 1}
    row |= {"verdicts": [1], "texts": [text(1, HOSTILE)], "images": [HOSTILE], "judge": [0.7]}
    row |= {"group": HOSTILE, "row": 0}
    odd = row | {"texts": [HOSTILE], "verdicts": [None], "rewards": [{HOSTILE: 1.0}]}
    odd |= {"group": "b", "skipped": False, "question": f"**{HOSTILE}** $\\text{{{HOSTILE}}}$"}
    left = row | {"id": "left", "verdicts": [None], "texts": [], "skipped": True, "reason": HOSTILE}
    (folder / "judgements.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in (row, odd, left))
    )
    (folder / "skipped_rl.jsonl").write_text(
        json.dumps({"name": HOSTILE, "reason": HOSTILE}) + "\n"
    )
    (folder / f"judgements_{HOSTILE.replace('/', '')}.jsonl").write_text(json.dumps(row) + "\n")
    about = json.loads((folder / "run.json").read_text())
    about["config"]["note"], about["verb"], about["commit"] = HOSTILE, HOSTILE, HOSTILE
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "summary.json").write_text(json.dumps({HOSTILE: HOSTILE, "rl_accuracy": 0.5}))
    with open(folder / "metrics.jsonl", "a") as file:
        for step in (1, 2):
            line = {"phase": HOSTILE, "step": step, "at": 1.0, HOSTILE: step}
            file.write(json.dumps(line) + "\n")
    page = visit(report.write([str(folder)], str(tmp_path / "x.html")))
    assert page.title() == "Report: <b onclick=x>'&\"run"
    card = page.locator(".sample").first
    assert card.locator("h3").inner_text() == HOSTILE
    assert card.locator(".response").first.inner_text() == HOSTILE
    assert card.locator("p.text").inner_text() == HOSTILE
    assert page.locator("pre.text").inner_text() == HOSTILE
    drawn = page.locator(".sample .drawn").first
    assert drawn.locator("strong").inner_text() == HOSTILE and drawn.locator("mtext").count() == 1
    assert HOSTILE in page.locator(".group").all_inner_texts()
    assert HOSTILE in page.inner_text("#skipped") and HOSTILE in page.inner_text("#samples .lost")
    assert page.locator("script").count() == 1 and page.locator("img, [onclick]").count() == 0
    page.locator(".phase").last.locator(".canvas").first.hover()
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for value in page.evaluate("[...document.querySelector('#source').options].map(o => o.value)"):
        page.select_option("#source", value)
        assert shown(page)


def test_runs_are_laid_over_one_another(visit, run, tmp_path):
    other = make_run(tmp_path / "second", seed=1, finished=False, iterations=5)
    page = visit(report.write([str(run), str(other)], str(tmp_path / "two.html")))
    assert page.inner_text("h1") == "first, second"
    chart = page.locator(".chart", has=page.locator("h4", has_text=re.compile("^Reward$")))
    assert [t.split()[0] for t in chart.locator(".entry").all_inner_texts()] == ["first", "second"]
    assert chart.locator(".canvas path.line").count() == 2
    assert chart.locator(".canvas path.s2").count() >= 1
    assert chart.locator(".at").inner_text() == "iteration 5"
    ratio = page.locator(".chart", has=page.locator("h4", has_text="Log-ratio"))
    assert ratio.locator(".canvas path.line").count() == 4
    assert ratio.locator(".canvas path.d1").count() == 2
    assert page.locator("h4", has_text="Time: ").count() == 2
    config = page.inner_text("#differences")
    assert "rl.lr" in config and "0.2" in config and "judge.path" not in config
    assert page.locator("#summary thead th").all_inner_texts() == [
        *("number", "first", "second", "meaning")
    ]
    page.select_option("#run", "1")
    assert page.locator('button[data-kind="all"]').inner_text() == "All 70"
    everything(page)
    cards = page.locator(".sample:visible")
    assert all("second" in t for t in cards.all_inner_texts()) and cards.count() == 70


def test_runs_with_nothing_yet_have_a_page(visit, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    page = visit(report.write([str(tmp_path / "run")]))
    assert "no metrics yet" in page.inner_text("header")
    assert page.locator("main section").count() == 0


def pair(name, verdicts, *, group="g", analysis="So it is.", p=0.9, votes=(), **more):
    """Both orders of a record whose preferred response is stored first."""
    shared = {"id": name, "group": group, "question": f"What of {name}?", "images": []}
    for order, verdict in enumerate(verdicts):
        row = {"responses": ["one", "two"][:: -1 if order else 1], "preferred": 1 + order}
        row |= {"verdicts": [verdict], "probabilities": [p if verdict == 1 else 1 - p]}
        yield shared | row | {"texts": [text(verdict, analysis)], "votes": list(votes)} | more


LONG = "**Step 1.** We have $x = \\frac{1}{2}$.\n\n" + "\n\n".join("So on." for _ in range(60))


@pytest.fixture(scope="module")
def judged_page(tmp_path_factory):
    """Two runs on the same records, with a few that only one of them has right."""
    folder = tmp_path_factory.mktemp("judged")
    verdicts = {"both": (1, 2), "flip": (1, 1), "sure": (2, 1), "unsure": (2, 1), "mute": (None, 2)}
    runs = []
    for name, changed in (("first", {}), ("second", {"both": (2, 1), "sure": (1, 2)})):
        run = make_run(folder / name, records=0, iterations=0)
        records = [
            pair(
                record,
                changed.get(record, given),
                group="maths" if record in ("sure", "both") else "odd",
                subgroup="sums" if record == "both" else "",
                p={"sure": 0.99, "unsure": 0.6}.get(record, 0.9),
                analysis=LONG if record == "both" else "So it is.",
                votes=(1, 2, 1),
            )
            for record, given in verdicts.items()
        ]
        lines = [json.dumps(row) + "\n" for rows in records for row in rows]
        (run / "judgements.jsonl").write_text("".join(lines))
        runs.append(str(run))
    return report.write(runs, str(folder / "two.html"))


def test_a_pair_is_one_card_with_both_orders_and_both_runs(visit, judged_page):
    page = visit(judged_page)
    assert shown(page) == ["both", "flip", "sure", "unsure", "mute"]
    card = page.locator(".sample", has_text="What of flip?")
    orders = card.locator(".column").first.locator(".order")
    assert orders.count() == 2 and card.locator(".column").count() == 2
    a, b = (order.bounding_box() for order in orders.all())
    assert a["y"] == b["y"] and b["x"] >= a["x"] + a["width"]  # side by side
    first, second = orders.all_inner_texts()
    assert "✓ right" in first and "a shown first" in first and "says 1, which is a" in first
    assert "✗ wrong" in second and "b shown first" in second and "says 1, which is b" in second
    assert "confidence 0.900" in second and "1 of 3 right" in second and "2 of 3 right" in first
    assert "flipped" in card.locator(".marks").inner_text()
    assert card.locator(".responses li").count() == 2  # once, with the label
    assert card.locator(".responses li.best").inner_text().startswith("a")
    phone = visit(judged_page, width=390)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = phone.locator(".sample").first.locator(".column").first.locator(".order")
    a, b = (order.bounding_box() for order in boxes.all())
    assert a["x"] == b["x"] and b["y"] >= a["y"] + a["height"]  # below one another


def test_the_surest_wrong_and_what_the_second_run_lost_are_one_click_away(visit, judged_page):
    page = visit(judged_page)
    page.get_by_role("button", name="Surest wrong first").click()
    assert shown(page)[0] == "sure" and shown(page)[-1] in ("unsure", "mute")
    assert "kind=wrong" in page.url and "sort=wrong" in page.url
    page.locator(".look a", has_text="B lost").click()
    page.wait_for_function("location.hash === '#kind=lost'")
    assert shown(page) == ["both"]
    page.get_by_role("button", name="B right where A was wrong").first.click()
    assert shown(page) == ["sure"]
    lists = page.locator("#comparison details")
    assert [t.split("\n")[0] for t in lists.all_inner_texts()] == [
        "B wrong where A was right: 1",
        "B right where A was wrong: 1",
    ]
    lists.first.locator("a").click()
    page.wait_for_function("location.hash.includes('q=both')")
    assert shown(page) == ["both"]


def test_groups_and_orders_of_the_list(visit, judged_page):
    page = visit(judged_page)
    page.select_option("#group", label="maths")
    assert shown(page) == ["both", "sure"] and "group=0" in page.url
    assert page.locator('button[data-kind="all"]').inner_text() == "All 2"
    page.select_option("#group", label="maths/sums")
    assert shown(page) == ["both"] and page.locator(".group:visible").inner_text() == "maths/sums"
    page.select_option("#group", "")
    page.select_option("#sort", "unsure")
    page.select_option("#run", "1")
    page.select_option("#sort", "sure")
    url, before = page.url, shown(page)
    page.reload()
    assert page.url == url and shown(page) == before


def test_long_texts_open_and_formulas_are_drawn_or_raw(visit, judged_page):
    page = visit(judged_page)
    card = page.locator(".sample", has_text="What of both?")
    long = card.locator(".order .long").first
    button = card.locator(".order .expand").first
    assert long.bounding_box()["height"] < 300 and button.inner_text() == "Show all"
    assert long.locator("strong").inner_text() == "Step 1." and long.locator("mfrac").count() == 1
    button.focus()
    page.keyboard.press("Enter")
    assert long.bounding_box()["height"] > 1000 and button.get_attribute("aria-expanded") == "true"
    button.click()
    assert long.bounding_box()["height"] < 300
    page.check("#raw")
    assert not long.locator("math").is_visible() and "\\frac{1}{2}" in long.inner_text()
    page.check("#open")
    assert long.bounding_box()["height"] > 1000 and "raw=1" in page.url and "open=1" in page.url
    page.reload()
    assert page.is_checked("#raw") and page.is_checked("#open")


def test_records_without_a_card_are_listed_in_short(visit, tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "CARDS", 4)
    run = make_run(tmp_path / "run", records=0, iterations=0)
    records = [pair(f"r{i}", (1, 2), group=HOSTILE, row=i, p=0.5 + i / 100) for i in range(30)]
    records[7] = pair("odd", (2, 2), group="b", question=HOSTILE, responses=[HOSTILE, "b"], row=7)
    rows = [row for record in records for row in record]
    rows[15]["responses"] = ["b", HOSTILE]
    (run / "judgements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = visit(report.write([str(run)]))
    assert "30 records were judged" in page.inner_text("#samples > p")
    assert "26 more are listed in short" in page.inner_text("#samples > p")
    assert page.locator(".sample").count() == PAGE
    page.select_option("#sort", "sure")
    found = everything(page)
    assert len(found) == 30 and found[:3] == ["odd", "r29", "r28"]
    assert "odd" in found and page.locator(".sample.short").count() == 26
    short = page.locator(".short")
    assert HOSTILE in short.first.locator(".group").inner_text()
    assert "lines" in short.first.inner_text() and "which is a" in short.first.inner_text()
    assert page.locator("script").count() == 1 and page.locator("img, [onclick]").count() == 0


def test_the_command_is_there_to_copy(visit, judged_page):
    page = visit(judged_page)
    code, button = page.locator(".command code").first, page.locator(".copy").first
    assert code.inner_text().startswith("r1reward quickstart --config ")
    button.click()
    page.wait_for_function("document.querySelector('.copy').textContent !== 'Copy'")
    selected = page.evaluate("getSelection().toString()")
    assert button.inner_text() == "Copied" or selected == code.inner_text()


def test_scalar_models_have_scores_instead_of_texts(visit, tmp_path):
    folder = make_run(tmp_path / "run", records=1, iterations=0)
    (folder / "judgements.jsonl").unlink()
    row = {"id": "a", "question": "q", "responses": ["x", "y"], "preferred": 1, "images": []}
    row |= {"verdicts": [2], "texts": [], "scores": [0.25, 1.5]}
    (folder / "judgements_scalar.jsonl").write_text(json.dumps(row) + "\n")
    page = visit(report.write([str(folder)]))
    card = page.locator(".sample")
    assert "score 0.25" in card.inner_text() and "wrong" in card.inner_text()
    assert card.locator(".text").count() == 0
