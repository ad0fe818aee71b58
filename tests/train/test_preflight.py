"""The look at all data before the first update: what it refuses, leaves out and remembers."""

import io
import json
import os
import re
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import pytest
from PIL import Image

from r1reward_jax import build
from r1reward_jax import config as configs
from r1reward_jax.annotate.teacher import annotate
from r1reward_jax.data import checks, decoding
from r1reward_jax.data.preferences import Annotation, read_preferences
from r1reward_jax.data.video import DEFAULT, read_video
from r1reward_jax.prompts import answer_text, parse_verdict
from r1reward_jax.train.data_report import DataReport, Lengths
from r1reward_jax.train.findings import DataSet, Rules
from r1reward_jax.train.lengths import Measured
from r1reward_jax.train.preflight import look
from r1reward_jax.types import Candidate, InputError, PreferenceRecord, RelevanceRecord, VideoPart
from tests.data.test_benchmarks import released


def picture(path, size=(30, 20), cut=0, kind="JPEG"):
    """Write a picture of noise, which lacks its last bytes."""
    file = io.BytesIO()
    Image.frombytes("RGB", size, os.urandom(3 * size[0] * size[1])).save(file, kind)
    path.write_bytes(file.getvalue()[: len(file.getvalue()) - cut])
    return str(path)


def record(name, images=(), preferred=1, **fields):
    fields = {"question": f"What of {name}?", "responses": (f"{name} a", f"{name} b")} | fields
    return PreferenceRecord(name, preferred=preferred, images=tuple(images), **fields)


def training(records, **fields):
    """Records of RL; the words of a question are its tokens, of which 10 fit."""

    def measure(r):
        tokens = len(r.question.split())
        reason = f"{tokens} tokens, the largest of buckets.tokens is 10" if tokens > 10 else None
        return Measured(tokens, reason)

    return DataSet("rl", "data.jsonl", records, lambda r: r, measure, **fields)


def imitating(records, texts):
    """Annotated records, of which any length fits."""
    items = [
        Annotation(r, text, 1, parse_verdict(text) == r.preferred)
        for r, text in zip(records, texts, strict=True)
    ]
    measure = lambda a: Measured(5, completion=len(a.completion.split()))  # noqa: E731
    pair = lambda a: (a.completion, a.matched)  # noqa: E731
    return DataSet("sft", "data.jsonl", items, lambda a: a.record, measure, pair)


def held(records, most=8):
    return replace(training(records), name="heldout", source="held.jsonl", most=most)


def run(train, heldout=None, rules=None, **more):
    """Look, and return what is left with what was told."""
    told = []
    found = look(train, heldout, rules or Rules(), threads=2, tell=told.append, **more)
    return found, told


# ------------------------------------------------------------------ pictures


@dataclass
class Broken:
    """Something that cannot be shown, and the words for it."""

    images: tuple = ()
    video: VideoPart | None = None
    words: str = ""


def broken(kind, folder):
    if kind == "cut":
        path = picture(folder / "cut.jpg", cut=40)
        return Broken((path,), words=f"image {path}: image file is truncated")
    if kind == "cut png":
        path = picture(folder / "cut.png", cut=300, kind="PNG")
        return Broken((picture(folder / "good.jpg"), path), words=f"image {path}: ")
    if kind == "bytes":
        picture(folder / "cut.jpg", cut=40)
        return Broken(((folder / "cut.jpg").read_bytes(),), words="image file is truncated")
    if kind == "gone":
        return Broken((f"{folder}/gone.png",), words=f"{folder}/gone.png")
    frames = folder / "frames"
    frames.mkdir()
    for i in range(4):
        size = (30, 22) if kind == "frames of two sizes" and i == 3 else (30, 20)
        picture(frames / f"{i}.jpg", size, cut=40 if kind == "cut frame" and i == 2 else 0)
    words = {"cut frame": "2.jpg: image file is truncated", "frames of two sizes": "frames of one"}
    return Broken(video=read_video(str(frames), DEFAULT), words=words[kind])


KINDS = ("cut", "cut png", "bytes", "gone", "cut frame", "frames of two sizes")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["train", "heldout"])
def test_what_cannot_be_shown_ends_a_run_before_it_begins(kind, where, tmp_path):
    bad = broken(kind, tmp_path)
    good = [record(f"g{i}", [picture(tmp_path / f"{i}.jpg")]) for i in range(3)]
    odd = [*good[:2], replace(record("odd", bad.images), video=bad.video), good[2]]
    train, heldout = (odd, good) if where == "train" else (good, odd)
    with pytest.raises(InputError) as error:
        run(training(train), held(heldout))
    file = "data.jsonl" if where == "train" else "held.jsonl"
    assert f"1 records cannot be read ({file} row 3 (record odd): " in str(error.value)
    assert bad.words in str(error.value) and "data.skip_unreadable=true" in str(error.value)
    found, told = run(training(train), held(heldout), Rules(skip_unreadable=True))
    counts = found.report.train if where == "train" else found.report.heldout
    assert counts is not None and counts.skipped == {"unreadable": 1} and counts.records == 3
    kept = found.items if where == "train" else found.heldout
    assert [r.id for r in kept] == ["g0", "g1", "g2"]
    name, use = ("rl", "skipped") if where == "train" else ("heldout", "not measured on")
    assert f"{name}: 1 of 4 records are {use} (1 x unreadable)" in told[0] and bad.words in told[0]


def test_all_that_is_wrong_is_in_one_message(tmp_path):
    """Of both files and of every kind; the first few by name, all of them in a file."""
    cut = [record(f"c{i}", [picture(tmp_path / f"c{i}.jpg", cut=30)]) for i in range(7)]
    texts = ["", "  \n", *[answer_text("a", 1)] * 5]
    gone = [record("gone", [str(tmp_path / "gone.png")])]
    with pytest.raises(InputError) as error:
        run(imitating(cut, texts), held(gone), workdir=str(tmp_path))
    message = str(error.value)
    assert "sft: 7 records cannot be read" in message and "and 2 more" in message
    assert "sft: 2 empty completions (data.jsonl row 1 (record c0); data.jsonl row 2" in message
    assert "heldout: 1 records cannot be read (held.jsonl row 1 (record gone)" in message
    assert message.count("\n") == 0
    rows = [json.loads(x) for x in (tmp_path / "data_problems.jsonl").read_text().splitlines()]
    assert len(rows) == 10 and f"all are listed in {tmp_path}/data_problems.jsonl" in message
    assert rows[6]["where"] == "data.jsonl row 7 (record c6)" and "c6.jpg" in rows[6]["reason"]


def test_videos_that_cannot_be_read_are_listed_or_left_out(tmp_path):
    """A record is never trained on without its video."""
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip").mkdir()
    picture(tmp_path / "clip" / "1.jpg")
    rows = [released(name, image="", video=name) for name in ("gone", "text.mp4", "empty", "clip")]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError) as error:
        read_preferences(str(path))
    message = str(error.value)
    assert f"1 images or videos are missing: {path}:1 (id gone): gone. Looked in" in message
    records = read_preferences(str(path), require_files=False)
    with pytest.raises(InputError) as error:
        run(training(records[1:]))
    message = str(error.value)
    assert "rl: 2 records cannot be read (data.jsonl row 1 (record text.mp4): video" in message
    assert "data.jsonl row 2 (record empty): video" in message
    assert "the folder has no images" in message
    found, told = run(training(records), rules=Rules(skip_unreadable=True))
    assert [r.id for r in found.items] == ["clip"] and found.report.train.videos == 1
    assert "rl: 3 of 4 records are skipped (3 x unreadable)" in told[0]
    assert "record gone): video gone: not found in" in told[0]


def test_candidates_are_decoded_too(tmp_path):
    good, bad = picture(tmp_path / "good.jpg"), picture(tmp_path / "bad.jpg", cut=30)
    shop = RelevanceRecord("s", "mug", (Candidate("a", (good,)), Candidate("b", (good, bad))), 1)
    measured = replace(held([shop]), measure=lambda r: Measured(3))
    with pytest.raises(InputError, match="held.jsonl row 1 .record s.: image .*bad.jpg"):
        run(training([record("a")]), measured)


def test_a_held_out_record_behind_those_that_are_used_is_not_looked_at(tmp_path):
    """One that does not fit is replaced by the next, as long as there is one."""
    records = [record(f"r{i}") for i in range(4)]
    records[1] = replace(records[1], question="word " * 11)
    records[3] = replace(records[3], images=(str(tmp_path / "gone.png"),))
    found, told = run(training(records[:1]), held(records, most=2))
    assert [r.id for r in found.heldout] == ["r0", "r2"]
    counts = found.report.heldout
    assert counts is not None and counts.skipped == {"larger than buckets.tokens": 1}
    assert "heldout: 1 of 4 records do not fit and are not measured on" in told[0]
    assert "11 tokens, the largest of buckets.tokens is 10" in told[0]


REASONS = {
    "strip": (
        "image .*strip.png: absolute aspect ratio must be smaller than 200, got 400.*",
        "shape",
    ),
    "many": (r"3 images .*, the largest of buckets.images is 2", "larger than buckets.images"),
    "large": ("484 patches of an image, the largest of buckets.patches is 400", "buckets.patches"),
    "long": (r"\d+ tokens, the largest of buckets.tokens is 256", "larger than buckets.tokens"),
    "answer": (r"\d+ tokens .*, (sft|scalar)\.max_\w+ is \d+", "larger than s"),
}


@pytest.mark.parametrize("verb", ["sft", "rl", "scalar-rm"])
def test_each_verb_says_why_no_batch_holds_a_record(verb, loaded, checkpoint, tmp_path):
    """The true reason, as the processor gives it; held-out data as well, in both orders."""
    config = configs.load("quickstart")
    policy = SimpleNamespace(path=checkpoint, processor=loaded[2])
    sizes = {"good": (56, 56), "strip": (4000, 10), "large": (308, 308)}
    images = {name: tmp_path / f"{name}.png" for name in sizes}
    for name, path in images.items():
        Image.new("RGB", sizes[name]).save(path)
    images |= {"many": images["good"]}
    records = [
        record(name, [str(images[name])] * (1 + 2 * (name == "many")) if name in images else [])
        for name in ("good", "strip", "many", "large", "long", "answer")
    ]
    records[4] = replace(records[4], question="word " * 300)
    records[5] = replace(records[5], responses=("word " * 20, "b"))
    text = answer_text("x", 1)
    items = [Annotation(r, text + "word " * 40 * (r.id == "answer"), 1, True) for r in records]
    reasons = dict(REASONS)
    if verb == "rl":
        del reasons["answer"]
    told = []
    look = partial(build.look_at_data, config, verb, policy=policy, workdir=str(tmp_path))
    found = look(items if verb == "sft" else records, records[:-1], tell=told.append)
    for name in ("heldout", verb.removesuffix("-rm")):
        rows = (tmp_path / f"skipped_{name}.jsonl").read_text().splitlines()
        expected = list(reasons.values())[: 4 if name == "heldout" else None]
        for row, (reason, kind) in zip(map(json.loads, rows), expected, strict=True):
            assert re.fullmatch(reason, row["reason"]) and kind in row["kind"]
    assert [r.id for r in found.heldout] == ["good"]
    kept = [getattr(item, "record", item).id for item in found.items]
    assert kept == (["good", "answer"] if verb == "rl" else ["good"])
    assert any("a batch of " in line and "more than once" in line for line in told)
    config.rollout.max_new_tokens = config.sft.max_completion_tokens = 2**20
    config.scalar.max_response_tokens = 2**20
    look(items[:1] if verb == "sft" else records[:1], tell=told.append)
    assert "the model's max_position_embeddings is 128,000" in told[-1]


def test_a_run_without_records_is_refused():
    long = [record("a", question="word " * 11)]
    reason = "the first of 1: 11 tokens, the largest"
    with pytest.raises(InputError, match=f"rl: no records to train on; {reason}"):
        run(training(long))
    with pytest.raises(InputError, match=f"heldout: no records to measure on; {reason}"):
        run(training([record("b")]), held(long))
    with pytest.raises(InputError, match="rl: no records to train on; is the file empty"):
        run(training([]))


# ------------------------------------------------------------------ completions


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (answer_text("one is red", 1), []),
        (f"  {answer_text('one is red', 1)}\n", []),
        ("", [checks.EMPTY]),
        (" \n\t", [checks.EMPTY]),
        (answer_text("one is red", 2), [checks.AGAINST, checks.WRONG_FIELD]),
        ("I cannot say.", [checks.NO_VERDICT, checks.MALFORMED, checks.WRONG_FIELD]),
        ("<think>a</think><answer>1 or 2</answer>", [checks.NO_VERDICT, checks.WRONG_FIELD]),
        ("<think>a</think><answer></answer>", [checks.NO_VERDICT, checks.WRONG_FIELD]),
        ("<think>a</think> so <answer>1</answer>", [checks.MALFORMED]),
        ("<think></think><answer>1</answer>", [checks.NO_ANALYSIS]),
        (
            "<answer>1</answer><answer>2</answer>",
            [checks.NO_VERDICT, checks.MALFORMED, checks.NO_ANALYSIS, checks.WRONG_FIELD],
        ),
    ],
)
def test_what_is_odd_about_a_completion(text, faults):
    assert checks.completion_faults(text, 1, True) == faults


TEXTS = [answer_text("x", 1), answer_text("x", 2), "nothing", answer_text("x", 1)]


def test_doubtful_completions_are_kept_skipped_or_refused():
    records = [record(f"r{i}") for i in range(4)]
    found, told = run(imitating(records, TEXTS))
    assert len(found.items) == 4
    assert found.report.train.doubtful == {
        checks.AGAINST: 1,
        checks.NO_VERDICT: 1,
        checks.MALFORMED: 1,
    }
    assert found.report.train.verdicts == (2, 1)
    assert "sft: 1 of 4 completions are against the label; they are imitated" in "\n".join(told)
    found, told = run(imitating(records, TEXTS), rules=Rules(mismatched="skip"))
    assert [a.record.id for a in found.items] == ["r0", "r3"]
    assert found.report.train.left_out == 2 and not found.report.train.doubtful
    assert "sft: 2 of 4 records are skipped (1 x completions against the label" in told[0]
    with pytest.raises(InputError) as error:
        run(imitating(records, TEXTS), rules=Rules(mismatched="refuse"))
    assert "sft: 1 completions against the label (data.jsonl row 2 (record r1))" in str(error.value)
    assert "sft: 1 completions without a verdict (data.jsonl row 3" in str(error.value)


def test_labels_of_the_cold_start_are_told_and_balanced(capsys):
    """Sets that store the better response first would teach the position."""
    labels = [1] * 15 + [2] * 5
    records = [record(f"r{i}", preferred=label) for i, label in enumerate(labels)]
    texts = [answer_text("x", label) for label in labels]
    found, told = run(imitating(records, texts))
    assert found.report.train.labels == (15, 5)
    assert "sft: 15 of 20 labels name response 1; a generative" in told[0]
    _, told = run(imitating(records[:19], texts[:19]))  # too few to say
    assert not told
    _, told = run(imitating(records[5:], texts[5:]))
    assert not told  # 10 and 5 of 15
    found, told = run(imitating(records, texts), rules=Rules(balance="drop"))
    assert found.report.train.labels == (5, 5) and not told
    assert found.report.train.skipped == {"surplus of a label (sft.balance=drop)": 10}
    found, told = run(imitating(records, texts), rules=Rules(balance="repeat"))
    assert found.report.train.labels == (15, 15) and not told
    assert {a.record.id for a in found.items} == {r.id for r in records}
    again = run(imitating(records, texts), rules=Rules(balance="repeat"))[0]
    assert [a.record.id for a in again.items] == [a.record.id for a in found.items]
    with pytest.raises(InputError, match="sft.balance=drop: all 15 labels name response 1"):
        run(imitating(records[:15], texts[:15]), rules=Rules(balance="drop"))
    _, told = run(training(records))  # RL swaps half of its records itself
    assert not told


def test_records_are_swapped_evenly_before_they_are_annotated():
    first = [record(f"r{i}", preferred=1) for i in range(9)]
    swapped = checks.swapped_evenly(first, seed=0)
    assert checks.label_counts([r.preferred for r in swapped]) == (5, 4)
    for old, new in zip(first, swapped, strict=True):
        assert new in (old, old.swapped())
    assert checks.swapped_evenly(swapped, seed=1) == swapped
    assert swapped != checks.swapped_evenly(first, seed=1)


def test_a_teacher_is_shown_balanced_labels():
    """A set that stores the better response first is annotated 1:1."""

    class Teacher:
        def write(self, record, attempt):
            return answer_text("the better one", record.preferred)

    written = annotate(Teacher(), [record(f"r{i}") for i in range(10)], max_attempts=1)
    assert checks.label_counts([a.record.preferred for a in written]) == (5, 5)
    assert all(a.matched and parse_verdict(a.completion) == a.record.preferred for a in written)


# ------------------------------------------------------------------ records


def test_records_that_occur_again_are_counted(tmp_path):
    one, two = picture(tmp_path / "1.jpg"), picture(tmp_path / "2.jpg")
    base = record("a", [one])
    rows = [
        base,
        replace(base, id="b"),  # again
        replace(base, id="c", images=(two,)),  # another picture
        replace(base, id="d", preferred=2),  # the opposite label
        replace(base.swapped(), id="e"),  # the same judgement, in the other order
        record("a"),
        record("empty", question=" ", responses=("x", "x ")),
    ]
    _, told = run(training(rows), held([base.swapped(), replace(base, question="Else?")]))
    said = "\n".join(told)
    assert "rl: 1 records without a question" in said
    assert "rl: 1 records whose two responses are the same" in said
    assert "rl: 2 records have the id of another one" in said
    assert "rl: 4 records have the same question, responses and images as another one" in said
    assert "rl: 3 records are in the file more than once" in said
    assert "heldout: 1 of 2 records have the question and responses of a training" in said


# ------------------------------------------------------------------ memory


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """A cache of its own, and the images that are opened."""
    opened, real = [], decoding.open_image
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "WORTH", 2)
    monkeypatch.setattr(decoding, "open_image", lambda i: (opened.append(i), real(i))[1])
    return opened


def test_a_restart_looks_only_at_what_has_changed(counted, tmp_path):
    paths = [picture(tmp_path / f"{i}.jpg") for i in range(4)]
    records = [record(f"r{i}", [path]) for i, path in enumerate(paths)]
    records[2] = replace(records[2], question="word " * 11)
    work, lengths = str(tmp_path / "run"), []
    os.mkdir(work)
    train = training(records)
    train = replace(train, measure=lambda r: (lengths.append(r), training([]).measure(r))[1])
    first, told = run(train, workdir=work)
    assert sorted(counted) == paths and len(lengths) == 4
    assert first.report.decoded == 4 and told
    again, said = run(train, workdir=work)
    assert len(counted) == 4 and len(lengths) == 4  # nothing is done twice, and all is said again
    assert again == first and said == told
    assert DataReport.from_json(json.loads(json.dumps(first.report.to_json()))) == first.report
    rows = (tmp_path / "run" / "skipped_rl.jsonl").read_text().splitlines()
    assert json.loads(rows[0]) == {
        "place": 2,
        "name": "record r2",
        "kind": "larger than buckets.tokens",
        "reason": "11 tokens, the largest of buckets.tokens is 10",
    }
    picture(tmp_path / "1.jpg", size=(31, 20))
    found, _ = run(train, workdir=work)
    assert counted[4:] == paths[1:2] and found.report.decoded == 1 and len(lengths) == 8
    run(replace(train, items=records[:2]))  # another run on the same file
    assert len(counted) == 5
    picture(tmp_path / "3.jpg", cut=30)
    with pytest.raises(InputError, match="3.jpg"):
        run(train, workdir=work)


def test_files_that_change_what_is_left_out_are_told_of(counted, tmp_path, capsys):
    paths = [picture(tmp_path / f"{i}.jpg") for i in range(3)]
    train = training([record(f"r{i}", [path]) for i, path in enumerate(paths)])
    rules = Rules(skip_unreadable=True)
    run(train, rules=rules, workdir=str(tmp_path))
    picture(tmp_path / "1.jpg", cut=30)
    found, _ = run(train, rules=rules, workdir=str(tmp_path))
    assert len(found.items) == 2
    assert "since the last start files have changed, and other records" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "words", "known"),
    [
        (lambda data: b"\x00\xff" * 50, "not a list of decoded images", 0),
        (lambda data: data.replace(b"pillow", b"pillow 0.1 or"), "written by another version", 0),
        (lambda data: data[:-9], "1 damaged lines", 3),
        (lambda data: data.replace(b" 30 20\n", b" x\n", 1), "1 damaged lines", 3),
        (lambda data: b"", "not a list of decoded images", 0),
    ],
)
def test_a_damaged_cache_is_mended(damage, words, known, counted, tmp_path, capsys):
    paths = [picture(tmp_path / f"{i}.jpg") for i in range(4)]
    train = training([record(f"r{i}", [path]) for i, path in enumerate(paths)])
    run(train)
    (cache,) = (tmp_path / "cache" / "r1reward" / "decoded").iterdir()
    cache.write_bytes(damage(cache.read_bytes()))
    run(train)
    assert len(counted) == 8 - known
    assert words in capsys.readouterr().err
    run(train)
    assert len(counted) == 8 - known and capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written_ends_nothing(counted, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    paths = [picture(tmp_path / f"{i}.jpg") for i in range(3)]
    train = training([record(f"r{i}", [path]) for i, path in enumerate(paths)])
    assert run(train)[0].report.decoded == 3


def test_a_damaged_report_is_made_again(tmp_path, capsys):
    train = training([record("a")])
    first, _ = run(train, workdir=str(tmp_path))
    for text in ("{", "[]", '{"report": {}}', '{"report": null}'):
        (tmp_path / "data_report_rl.json").write_text(text)
        assert run(train, workdir=str(tmp_path))[0].items == first.items
        assert "data_report_rl.json: cannot be read" in capsys.readouterr().err


def test_lengths_are_quantiles_of_real_lengths():
    assert Lengths.of([]) is None
    assert Lengths.of([7]) == Lengths(7, 7, 7)
    assert Lengths.of(list(range(1, 101))) == Lengths(51, 91, 100)
