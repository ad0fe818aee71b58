"""The page in a browser: what is seen, what can be clicked, and that nothing gets out."""

import json
import re

import pytest

from r1reward_jax import report
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
    odd = row | {"texts": [HOSTILE], "verdicts": [None], "rewards": [{HOSTILE: 1.0}]}
    (folder / "judgements.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(odd) + "\n")
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
