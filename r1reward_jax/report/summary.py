"""The numbers that a training run ends with, what they mean, and the few to look at first."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from r1reward_jax.report.charts import COLORS
from r1reward_jax.report.head import duration
from r1reward_jax.report.read import Run, finite
from r1reward_jax.report.scale import short

MEANINGS = {
    "rl_accuracy": "share of right greedy verdicts after RL, over both answer orders",
    "rl_strict_accuracy": "share of held-out pairs that are judged right in both orders",
    "rl_sample_accuracy": "share of right single samples after RL",
    "cold_start_accuracy": "before RL: the better of greedy verdicts and single samples",
    "cold_start_greedy_accuracy": "before RL, greedy verdicts",
    "cold_start_sample_accuracy": "before RL, single samples",
    "cold_start_longer_accuracy": "control: more cold start instead of RL",
    "blind_accuracy": "control: a policy that was trained on shuffled images",
    "blank_accuracy": "control: the trained policy with its images blanked",
    "text_only_classifier_accuracy": "control: a bag of words, without images",
    "judge_balanced_accuracy": "of the consistency judge, on held-out pairs of both kinds",
    "consistent_share": "share of analyses that support their verdict, by the judge",
    "truth_consistent_share_before": "analyses that argue for their verdict, by its own parser: "
    "before RL",
    "truth_consistent_share_after": "analyses that argue for their verdict, by its own parser: "
    "after RL",
    "verdict_1_share": "share of verdicts that name the first response; 0.5 is no position bias",
    "format_share": "share of well-formed completions",
    "mean_response_tokens_before": "mean length before RL, tokens",
    "mean_response_tokens_after": "mean length after RL, tokens",
    "seconds": "of the whole run",
}
MAIN = (
    ("rl_accuracy", "Accuracy after RL"),
    ("cold_start_accuracy", "After the cold start"),
    ("rl_strict_accuracy", "Right in both orders"),
    ("consistent_share", "Consistent analyses"),
)
"""Key and title of the cards."""


def summary(runs: Sequence[Run]) -> str:
    """Cards and tables; empty where no run has numbers yet."""
    columns = [(run.name, run.summary) for run in runs]
    found = _cards(runs)
    found += _table("Summary", columns) if any(c for _, c in columns) else ""
    return f'<section id="summary"><h2>Results</h2>{found}</section>' if found else ""


def meaning(name: str) -> str:
    """What a number of a summary says; empty where it is not known."""
    votes = re.fullmatch(r"vote(\d+)_accuracy", name)
    return f"majority of {votes[1]} samples" if votes else MEANINGS.get(name, "")


def written(name: str, value: Any) -> str:
    """A value of a summary: shares with three decimals, so that columns line up."""
    number = finite(value)
    if number is None:
        return "–" if value is None else str(value)
    if name == "seconds":
        return duration(number)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{number:.3f}" if abs(number) < 10 else short(round(number, 1))


def _cards(runs: Sequence[Run]) -> str:
    cards = ""
    for name, title in MAIN:
        values = [(i, r.summary[name]) for i, r in enumerate(runs) if name in r.summary]
        values = [(i, value) for i, value in values if finite(value) is not None]
        if values:
            rows = "".join(_number(runs, name, *value) for value in values)
            cards += card(title, rows, meaning(name), many=len(values) > 1)
    return f'<div class="cards">{cards}</div>' if cards else ""


def card(title: str, rows: str, about: str, *, many: bool) -> str:
    """A card of numbers that are rows of HTML; smaller where they are many."""
    look = " many" if many else ""
    return f'<div class="card{look}"><h3>{escape(title)}</h3>{rows}<p>{escape(about)}</p></div>'


def number(runs: Sequence[Run], index: int, value: str, small: str = "") -> str:
    """A number of a card: of several runs, with the name of its own."""
    said = ""
    if len(runs) > 1:
        sign = f'<i class="chip f{index % COLORS + 1}"></i>'
        said = f"<span>{sign}{escape(runs[index].name)}</span>"
    more = f"<small>{escape(small)}</small>" if small else ""
    return f'<div class="number"><b>{escape(value)}</b>{said}{more}</div>'


def _number(runs: Sequence[Run], name: str, index: int, value: Any) -> str:
    gain = ""
    before = finite(runs[index].summary.get("cold_start_accuracy"))
    if name == "rl_accuracy" and before is not None:
        gain = f"{float(value) - before:+.3f} by RL".replace("-", "−")
    return number(runs, index, written(name, value), gain)


def _table(title: str, columns: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    names = list(dict.fromkeys(name for _, column in columns for name in column))
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label, _ in columns)
    rows = ""
    for name in names:
        cells = "".join(f"<td>{escape(written(name, c.get(name)))}</td>" for _, c in columns)
        rows += f"<tr><th scope=row>{escape(name)}</th>{cells}<td>{escape(meaning(name))}</td></tr>"
    return (
        f'<div class="scroll"><table class="numbers"><caption>{escape(title)}</caption>'
        f'<thead><tr><th scope="col">number</th>{heads}<th scope="col">meaning</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
