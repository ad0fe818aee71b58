"""Two evaluations of the same records: is one model better, or is it chance?

A pair scores the share of its two orders in which the verdict is right; unparsable verdicts and
ties are wrong, so that both models are scored on the same pairs. What is compared is the difference
of these scores, b - a, summed over units, as pairs of a unit are not independent.

The p-value is exact for any number of units. The interval is a bootstrap, and optimistic where few
units differ: it draws only what was seen, so that five units for one model and none for the other
never come out against it, and the interval leaves 0 out where p is 0.0625.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from etils import epath

from r1reward_jax.evals import voting
from r1reward_jax.evals.journal import is_embedded, read_judged
from r1reward_jax.evals.results import Result
from r1reward_jax.evals.stats import (
    bootstrap,
    cluster_sums,
    holm,
    numbered,
    ratio,
    sign_flip_test,
)
from r1reward_jax.evals.types import PairJudgement
from r1reward_jax.types import InputError, Verdict

JUDGEMENTS = "judgements.jsonl"
UNFINISHED = "unfinished; run the same `r1reward evaluate` again"
SAME = ("id", "group", "unit", "preferred", "question", "responses")
"""What a record must have in common in two evaluations; its images, too."""
FEW = 30
"""Units that differ, below which an interval is not to be relied on."""


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation, as far as a comparison with another needs it."""

    folder: str
    judged: Sequence[PairJudgement]
    records: Mapping[int, Mapping[str, Any]]
    """Row -> what its line, in the stored order, says of the record."""
    images: str
    """The folder that all images are in; empty if there are none, or no common one."""
    config: Mapping[str, Any]
    """Flat; empty if the folder has none."""


def read(folder: str) -> Evaluation:
    """Read an evaluation's folder.

    Raises:
      InputError: it holds no judgements, ones that cannot be read, or not all of them.
    """
    root = epath.Path(folder)
    path = root / JUDGEMENTS
    if path.exists():
        _require_end(root)
    judged = read_judged(str(path))
    _require_all(root, len(judged))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    stored = {row["row"]: row for row in rows if row["order"] == 1}
    # of a record that could not be shown, nobody knows where its images are
    there = {
        n: None if row.get("skipped") else row.get("images") or [] for n, row in stored.items()
    }
    paths = [i for images in there.values() for i in images or () if not is_embedded(i)]
    records = {
        n: {name: row.get(name) for name in SAME} | {"images": there[n]}
        for n, row in stored.items()
    }
    return Evaluation(folder, judged, records, _folder(paths), _config(root / "config.json"))


def _folder(paths: Sequence[str]) -> str:
    """Return the innermost folder that all files are in."""
    parts = os.path.commonprefix([PurePosixPath(path).parent.parts for path in paths])
    return str(PurePosixPath(*parts)) if parts else ""


def _require_end(root: epath.Path) -> None:
    """Raise InputError unless the run has what it writes last: an evaluation evaluation.json, a
    quickstart summary.json."""
    verb = _object(root / "run.json", "what `r1reward` says about a run").get("verb")
    if verb == "quickstart":
        if not (root / "summary.json").exists():
            raise InputError(f"{root}: unfinished; run the same `r1reward quickstart` again")
    elif not (root / "evaluation.json").exists():
        raise InputError(f"{root}: {UNFINISHED}")


def _require_all(root: epath.Path, pairs: int) -> None:
    """Raise InputError unless judgements and the numbers made of them are about as many pairs."""
    overall = _object(root / "evaluation.json", "the numbers of an evaluation").get("overall")
    known = overall.get("pairs") if isinstance(overall, dict) else None
    gone = _object(root / "evaluation.json", "the numbers of an evaluation").get("skipped")
    if isinstance(known, int) and isinstance(gone, dict):  # `pairs` are those that were shown
        known += gone.get("records", 0)
    if (root / "evaluation.json").exists() and known != pairs:
        raise InputError(
            f"{root}: {pairs} pairs in {JUDGEMENTS}, {known} in evaluation.json: {UNFINISHED}"
        )


def _object(path: epath.Path, what: str) -> dict[str, Any]:
    """Return a JSON file's object; an empty one without the file."""
    try:
        found = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); expected {what}") from None
    return found if isinstance(found, dict) else {}


def _config(path: epath.Path) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def add(part: Mapping[str, Any], prefix: str) -> None:
        for name, value in part.items():
            if isinstance(value, dict):
                add(value, f"{prefix}{name}.")
            elif prefix + name != "workdir":
                flat[prefix + name] = value

    add(_object(path, "the config of a run"), "")
    return flat


def require_same_records(a: Evaluation, b: Evaluation) -> None:
    """Raise InputError unless both have judged the same records, in the same order. Images count by
    their paths, from the folder that all of an evaluation's are in: data may have been moved."""
    both = f"{a.folder} and {b.folder}"
    hint = "; evaluate both on the same data"
    if len(a.records) != len(b.records):
        raise InputError(f"{both}: {len(a.records)} and {len(b.records)} records{hint}")
    if a.records.keys() != b.records.keys():
        row = min(a.records.keys() ^ b.records.keys())
        raise InputError(f"{both}: row {row} is in one of them only{hint}")
    for row, record in a.records.items():
        different = [n for n in SAME if record[n] != b.records[row][n]]
        what = f"{different[0]} differs" if different else _other_images(a, b, row)
        if what:
            ids = dict.fromkeys([record["id"], b.records[row]["id"]])
            who = " and ".join(map(repr, ids))
            raise InputError(f"{both}: row {row} (id {who}): {what}{hint}")


def _other_images(a: Evaluation, b: Evaluation, row: int) -> str:
    """Return which images differ, in words; empty if none do."""
    one, two = a.records[row]["images"], b.records[row]["images"]
    if one is None or two is None:
        return ""
    if len(one) != len(two):
        return f"{len(one)} and {len(two)} images"
    for x, y in zip(one, two):
        if x != y and _inside(x, a.images) != _inside(y, b.images):
            return f"images differ, {x} and {y}"
    return ""


def _inside(path: str, folder: str) -> str:
    whole = is_embedded(path) or not folder
    return path if whole else str(PurePosixPath(path).relative_to(folder))


def config_differences(a: Evaluation, b: Evaluation) -> dict[str, tuple[Any, Any]]:
    """Return settings that are not the same; a setting that is missing is None."""
    names = [n for n in {**a.config, **b.config} if a.config.get(n) != b.config.get(n)]
    return {name: (a.config.get(name), b.config.get(name)) for name in names}


# ------------------------------------------------------------- comparisons


@dataclass(frozen=True)
class Difference(Result):
    """How two models differ on some pairs."""

    pairs: int
    units: int
    differ: int
    """Units whose scores are not the same."""
    a: float
    """Accuracy of one model over both orders."""
    b: float
    difference: float
    """b - a, with its 95 % interval, a bootstrap over units."""
    low: float | None
    high: float | None
    better: int
    """Pairs for which b scores more."""
    worse: int
    p: float
    """Two-sided, exact."""


@dataclass(frozen=True)
class GroupDifference(Difference):
    """A group's difference, whose p-value is adjusted for the number of groups."""

    p_holm: float


@dataclass(frozen=True)
class Differences(Result):
    """How two models differ by one kind of verdict."""

    overall: Difference
    groups: Mapping[str, GroupDifference]


@dataclass(frozen=True)
class Comparison(Result):
    """How two models differ, by greedy verdicts and by the most votes that both have."""

    votes: int | None
    """The number of votes; None without common votes, then `voting` is None, too."""
    greedy: Differences
    voting: Differences | None


@dataclass(frozen=True)
class Changed(Result):
    """A record of which one model has more orders right than the other, by greedy verdicts."""

    row: int
    id: str
    group: str
    question: str | None
    preferred: Verdict | None
    """In the stored order, as are the verdicts of `a` and `b`: 1 for the first response."""
    a: tuple[Verdict | None, Verdict | None]
    """Verdicts of one model, with the responses as stored and swapped; None without one."""
    b: tuple[Verdict | None, Verdict | None]


@dataclass(frozen=True)
class FolderComparison(Result):
    """How two evaluations differ: their settings, and their models."""

    a: str
    """One folder."""
    b: str
    config: Mapping[str, tuple[Any, Any]]
    """Settings that are not the same."""
    images: tuple[str, str]
    """The folder that all images of each are in."""
    votes: int | None
    """This and the next two as in `Comparison`."""
    greedy: Differences
    voting: Differences | None
    lost: tuple[Changed, ...] = ()
    """Records in which b is wrong where a was right, in more orders than the other way round."""
    won: tuple[Changed, ...] = ()
    """Records in which b is right where a was wrong."""


def compare_folders(a: str, b: str) -> FolderComparison:
    """Return the difference between the evaluations in two folders.

    Raises:
      InputError: as `read`, or they are not of the same records.
    """
    one, two = read(a), read(b)
    require_same_records(one, two)
    # where sampling was stopped early, only the config knows how many votes there were to be
    samples = one.config.get("eval.samples"), two.config.get("eval.samples")
    compared = compare(one.judged, two.judged, samples)
    differences = config_differences(one, two)
    lost, won = changed(one, two)
    images = one.images, two.images
    return FolderComparison(a, b, differences, images, **vars(compared), lost=lost, won=won)


def changed(a: Evaluation, b: Evaluation) -> tuple[tuple[Changed, ...], tuple[Changed, ...]]:
    """Return the records that b lost, and those that it won, in the order of their rows."""
    found: dict[bool, list[Changed]] = {False: [], True: []}
    for x, y in zip(a.judged, b.judged):
        before, after = pair_score(x, 0), pair_score(y, 0)
        if before == after:
            continue
        record, (one, two) = a.records[x.row], (_verdicts(x), _verdicts(y))
        question, label = record["question"], x.orders[0].label
        found[after > before].append(Changed(x.row, x.id, x.group, question, label, one, two))
    return tuple(found[False]), tuple(found[True])


def _verdicts(pair: PairJudgement) -> tuple[Verdict | None, Verdict | None]:
    stored, swapped = pair.orders
    return stored.verdict, swapped.verdict


def compare(
    a: Sequence[PairJudgement],
    b: Sequence[PairJudgement],
    samples: tuple[int | None, int | None] = (None, None),
) -> Comparison:
    """Return the difference between two models.

    Args:
      a: judgements of one model.
      b: those of another, of the same records in the same order.
      samples: votes that either was asked for; None: the most that a judgement has.
    """
    # a record that one of them could not be shown says nothing about either
    both = [(x, y) for x, y in zip(a, b, strict=True) if not x.skipped and not y.skipped]
    if not both:
        raise InputError("no record could be shown to both models; there is nothing to compare")
    a, b = [x for x, _ in both], [y for _, y in both]
    common = sorted({*voting.sizes(a, samples[0])} & {*voting.sizes(b, samples[1])})
    votes = common[-1] if common else None
    return Comparison(votes, _differences(a, b, 0), _differences(a, b, votes) if votes else None)


def _differences(a: Sequence[PairJudgement], b: Sequence[PairJudgement], votes: int) -> Differences:
    scores = np.asarray([(pair_score(x, votes), pair_score(y, votes)) for x, y in zip(a, b)])
    units, names = [pair.unit for pair in a], [pair.group for pair in a]
    groups = {}
    for name in dict.fromkeys(n for n in names if n):
        inside = [i for i, n in enumerate(names) if n == name]
        groups[name] = _difference(scores[inside], [units[i] for i in inside])
    adjusted = holm([difference.p for difference in groups.values()])
    return Differences(
        _difference(scores, units),
        {
            name: GroupDifference(**vars(difference), p_holm=p)
            for (name, difference), p in zip(groups.items(), adjusted)
        },
    )


def pair_score(pair: PairJudgement, votes: int) -> float:
    """Return the share of the two orders, 0, 1/2 or 1, in which the verdict is right; greedy with 0
    votes."""
    return sum(voting.verdict_at(j, votes) == j.label for j in pair.orders) / 2


def _difference(scores: np.ndarray, units: Sequence[str]) -> Difference:
    difference = scores[:, 1] - scores[:, 0]
    sums = cluster_sums(np.stack([difference, np.ones_like(difference)], axis=1), numbered(units))
    low, high = bootstrap(sums, ratio) or (None, None)
    return Difference(
        pairs=len(scores),
        units=len(sums),
        differ=int((sums[:, 0] != 0).sum()),
        a=float(scores[:, 0].mean()),
        b=float(scores[:, 1].mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        better=int((difference > 0).sum()),
        worse=int((difference < 0).sum()),
        # scores are halves of a pair, and the test takes whole numbers
        p=sign_flip_test(np.rint(2 * sums[:, 0]).astype(np.int64)),
    )
