"""A small run folder, and one browser for all tests."""

import json
import os
import shutil

import pytest
from PIL import Image

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"alert('x')\">'\"&amp;"
)


def text(verdict, analysis="first, then second. So it fits."):
    return f"<think>{analysis}</think><answer>{verdict}</answer>"


def make_run(folder, *, seed=0, finished=True, records=20, iterations=3, per_iteration=10, **about):
    """A run like a quickstart's. Record i is judged wrong in both orders where i % 5 == 1, flipped
    where i % 5 == 2; of an iteration's completions every fifth is inconsistent, every tenth
    unparsable."""
    (folder / "data" / "images").mkdir(parents=True)
    (folder / "rollouts").mkdir()
    config = {
        "workdir": str(folder),
        "seed": seed,
        "data": {"train": "", "heldout": "", "video_fps": 2.0, "video_frames": 16},
        "rl": {"iterations": 5, "lr": 0.1 * (seed + 1), "swap_weight": 0.0},
        "judge": {"path": f"{folder}/judge"},
    }
    own = {"verb": "quickstart", "seed": seed, "commit": "0123456789abcdef", "config": config}
    shared = {"started": "2026-01-02T03:04:05Z", "versions": {"jax": "0.10.2"}, "devices": ["cpu"]}
    (folder / "run.json").write_text(json.dumps(own | shared | about))
    for i in range(records):
        image = Image.new("RGB", (28 + 2 * i, 28), (10 * i, 90, 120))
        image.save(folder / "data" / "images" / f"{i}.png")
    rows = [row for i in range(records) for row in judged(folder, i)]
    (folder / "judgements.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for n in range(1, iterations + 1):
        lines = [json.dumps(written(folder, n, k, records)) for k in range(per_iteration)]
        (folder / "rollouts" / f"{n:05d}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(m) + "\n" for m in metrics(iterations, seed))
    )
    if finished:
        found = {"cold_start_accuracy": 0.75, "rl_accuracy": 0.875, "seconds": 61.0, "other": 3}
        (folder / "summary.json").write_text(json.dumps(found))
    return folder


def judged(folder, i):
    preferred = 1 + i % 2
    first = {0: preferred, 1: 3 - preferred, 2: 1}.get(i % 5, preferred)
    second = 1 if i % 5 == 2 else 3 - first
    shared = {"id": f"held-{i}", "question": f"question {i}?", "scores": None}
    shared["images"] = [f"{folder}/data/images/{i}.png"]
    for verdict, label, order in ((first, preferred, 1), (second, 3 - preferred, -1)):
        responses = [f"one {i}", f"two {i}"][::order]
        own = {"responses": responses, "preferred": label, "verdicts": [verdict]}
        yield shared | own | {"texts": [text(verdict, f"analysis {i}")], "votes": [verdict, None]}


def written(folder, n, k, records):
    reward = {"format": 1.0, "result": 1.0, "consistency": 1.0, "total": 2.0, "swap": 0.0}
    row = {"id": f"rl-{n}-{k}", "question": f"training {k}?", "responses": ["yes", "no"]}
    row |= {"preferred": 1, "text": text(1), "finish_reason": "eos", "judge": 0.9}
    row["images"] = [f"{folder}/data/images/{k % records}.png"]
    if k % 5 == 3:
        row["judge"], reward = 0.1, reward | {"consistency": 0.0, "total": 1.5}
    if k % 10 == 9:
        row |= {"text": "<think>on and on", "finish_reason": "length", "judge": None}
        reward = {"format": 0.0, "result": 0.0, "consistency": 0.0, "total": 0.0, "overlong": 1.0}
    return row | {"reward": reward}


def metrics(iterations, seed):
    for step in (1, 50, 100):
        values = {"loss/total": 5.0 / step, "loss/grad_norm": 1.0, "time/step_s": 0.5}
        yield {"phase": "cold_start", "step": step, "at": 1767323046.0, **values}
    for step in range(1, iterations + 1):
        yield {
            "phase": "rl",
            "step": step,
            "at": 1767323100.0 + step,
            "reward/total": 1.0 + 0.25 * step + seed,
            "reward/format": 1.0,
            "reward/result": 0.25 * step,
            "reward/consistency": 0.5,
            "reward/swap": 0.0,
            "loss/log_ratio_max": 0.5,
            "loss/log_ratio_min": -0.5,
            "loss/entropy": "nan",
            "time/rollout_s": 1.0,
            "time/update_s": 2.0,
            "time/step_s": 4.0,
            "judge/agreement_frac": 0.5,
            "something/new": float(step),
        }


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run. Not to be changed."""
    return make_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="session")
def browser():
    missing = pytest.fail if os.environ.get("CI") else pytest.skip
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing("no chromium to look at pages with")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("no playwright to look at pages with")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Opens a page that must neither complain nor ask for anything outside it."""
    contexts, problems = [], []

    def show(path, *, width=1280, scheme="light", scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=scripts,
            has_touch=width < 600,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or problems.append(r.url))
        page.goto(f"file://{path}")
        return page

    yield show
    for context in contexts:
        context.close()
    assert problems == []
