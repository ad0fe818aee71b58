"""An evaluation's numbers as lines of text, what the command prints."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 100
NAME = 20
"""Characters of a group's name."""
_ABOUT = {
    "left_out": "left out",
    "coin": "half a point",
    "wrong": "wrong, as release",
}


def table(summary: Mapping[str, Any]) -> list[str]:
    """The numbers to look at first, in lines of at most 100 columns.

    Args:
      summary: what `metrics.summarize` gives; `benchmark`, `model` and `calibration` are printed
        where they are there.
    """
    return [line[:WIDTH].rstrip() for line in _lines(summary)]


def _lines(summary: Mapping[str, Any]) -> Iterator[str]:
    overall, sizes = summary["overall"], summary["sizes"]
    title = str(summary.get("benchmark") or "evaluation")
    yield f"{title}: {_pairs(overall)} in both orders" + (
        f", {sizes[-1]} votes each" if sizes else ""
    )
    yield f"unparsable verdicts and ties: release wrong; official {_ABOUT[summary['convention']]}"
    yield from _decisions(summary, "greedy", lambda part: part["greedy"])
    if sizes:
        most = str(sizes[-1])
        yield from _decisions(summary, f"voting@{most}", lambda part: part["votes"][most])
    yield from _vote_curve(overall)
    yield from _acc_plus(overall)
    yield from _stopping(overall)
    yield from _calibration(summary.get("calibration"))
    yield from _rest(overall)
    notes = [*summary["notes"], *(summary.get("calibration") or {}).get("notes", ())]
    if notes:
        yield ""
    for note in notes:
        yield from wrapped(f"note: {note}")


def _pairs(part: Mapping[str, Any]) -> str:
    expected = part["expected"]
    of = f" of {expected:,}" if expected not in (None, part["pairs"]) else ""
    return f"{part['pairs']:,}{of} pairs"


def _decisions(summary: Mapping[str, Any], kind: str, of: Any) -> Iterator[str]:
    """A line per group, then all of them."""
    heads = ("pairs", "release", "95 %", "official", "right/judged", "strict", "flips", "says 1")
    rows = [[kind, *heads]]
    for name, part in [*summary["groups"].items(), ("overall", summary["overall"])]:
        found = of(part)
        rows.append(
            [
                name if len(name) <= NAME else name[: NAME - 1] + "…",
                f"{part['pairs']:,}",
                _three(found["release"]),
                _interval(found["release"]),
                _three(found["official"]),
                _counts(found["official"]),
                *(_three(found[name]) for name in ("strict", "flips", "says_1")),
            ]
        )
    if summary["macro"]:
        found = of(summary["macro"])
        release, official = found["release"], found["official"]
        mean = ["", _three(release), _interval(release), _three(official)]
        rows.append(["mean over groups", *mean, "", "", "", ""])
    yield ""
    yield from aligned(rows)


def _vote_curve(part: Mapping[str, Any]) -> Iterator[str]:
    votes, any_correct = part["votes"], part["any_correct"]
    if not votes or not any_correct:
        return
    yield ""
    yield from aligned(
        [
            ["votes", *votes],
            ["accuracy, release", *(_three(d["release"]) for d in votes.values())],
            ["accuracy, official", *(_three(d["official"]) for d in votes.values())],
            ["ties", *(f"{d['ties']['count']:,}" for d in votes.values())],
            ["any correct", *(_three(a) for a in any_correct.values())],
            ["any correct, of coins", *(f"{a['chance']:.3f}" for a in any_correct.values())],
        ]
    )
    rows = [[f"all {list(votes)[-1]} votes", "release", "95 %", "right", "official"]]
    for name, found in all_votes(part).items():
        release = found["release"]
        told = [_three(release), _interval(release), _counts(release)]
        rows.append([name, *told, _three(found["official"])])
    yield ""
    yield from aligned(rows)


def all_votes(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What can be made of all votes: scores under both conventions, of judgements and then of
    pairs; empty where sampling was stopped early."""
    if not part["both_orders"]:
        return {}
    found = {
        "majority": list(part["votes"].values())[-1],
        "weighted by probability": part["weighted"],
        "majority, both orders": part["both_orders"]["votes"],
        "weighted, both orders": part["both_orders"]["weighted"],
    }
    return {name: scores for name, scores in found.items() if scores}


def _acc_plus(part: Mapping[str, Any]) -> Iterator[str]:
    units = part["units"]
    if not units:
        return
    rows = [["units all right (Acc+)", "stored", "95 %", "right", "swapped", "mean"]]
    most = list(units["votes"])[-1:]
    kinds = [("greedy", units["greedy"]), *((f"voting@{k}", units["votes"][k]) for k in most)]
    for name, found in kinds:
        stored = found["stored"]
        told = [_three(stored), _interval(stored), _counts(stored)]
        rows.append([name, *told, _three(found["swapped"]), _three(found["mean"])])
    yield ""
    yield from aligned(rows)


def _stopping(part: Mapping[str, Any]) -> Iterator[str]:
    if not part["stopping"]:
        return
    rows = [["stopping early", "votes saved", "tokens saved", "verdicts changed", "release"]]
    for name, found in part["stopping"].items():
        saved = [_three(found["votes_saved"]), _three(found["tokens_saved"])]
        rows.append([name, *saved, f"{found['changed']['count']:,}", _three(found["release"])])
    yield ""
    yield from aligned(rows)


def _calibration(found: Mapping[str, Any] | None) -> Iterator[str]:
    if not found or not found["sources"]:
        return
    rows = [["probability from", "ECE", "95 %", "Brier", "AURC", "items"]]
    for name, kinds in found["sources"].items():
        for kind, words in (("single", "single orders"), ("averaged", "averaged")):
            each = kinds[kind]
            if each["items"]:
                told = [_three(each["ece"]), _interval(each["ece"]), _three(each["brier"])]
                told += [f"{each['aurc']:.3f}", f"{each['items']:,}"]
                rows.append([f"{name.replace('_', ' ')}, {words}", *told])
    yield ""
    yield from aligned(rows)


def _rest(part: Mapping[str, Any]) -> Iterator[str]:
    """Length, format and tokens, where there are texts."""
    if part["format"] is None:
        return
    yield ""
    lengths = [(name, found) for name, found in part["length"].items() if found]
    told = [f"{name} {found['value']:,.1f} {_interval(found, '.1f')}" for name, found in lengths]
    yield from wrapped(f"tokens of a response: {', '.join(told)}")
    yield from wrapped(
        f"well-formed {_three(part['format'])}, cut at the limit {_three(part['cut'])}, "
        f"unparsable {_three(part['greedy']['unparsable'])}"
        + (f" (votes {_three(part['unparsable_votes'])})" if part["unparsable_votes"]["of"] else "")
    )
    used = [f"{name} {count:,}" for name, count in part["tokens"].items() if count]
    yield from wrapped(f"tokens in all: {', '.join(used)}")


def wrapped(text: str) -> list[str]:
    """A text in lines of at most 100 columns; all but the first are indented."""
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) + 1 > WIDTH and lines[-1].strip():
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _three(found: Mapping[str, Any]) -> str:
    """The value of a score, share or mean; a dash if it has none."""
    return "–" if found["value"] is None else f"{found['value']:.3f}"


def _interval(found: Mapping[str, Any], digits: str = ".3f") -> str:
    if found["low"] is None:
        return ""
    return f"[{found['low']:{digits}}, {found['high']:{digits}}]"


def _counts(found: Mapping[str, Any]) -> str:
    return f"{_plain(found['right'])}/{found['of']:,}"


def _plain(points: float) -> str:
    return f"{points:,}" if isinstance(points, int) else f"{points:,.1f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
