"""Which charts a page has: per phase the ones to look at first, the rest behind a fold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from r1reward_jax.report.charts import COLORS, DASHES, Frame, Series, line_chart
from r1reward_jax.report.read import UNITS, Run
from r1reward_jax.report.scale import short
from r1reward_jax.report.times import STEP, TIMES, time_charts
from r1reward_jax.runs.metrics import METRICS, meaning

PHASES = {
    "rl": "Reinforcement learning",
    "cold_start": "Cold start",
    "sft": "Cold start",
    "judge": "Training the judge",
    "scalar": "Scalar baseline",
    "blind": "Control: shuffled images",
    "longer": "Control: a longer cold start",
}


@dataclass(frozen=True)
class Group:
    """Metrics that are looked at together."""

    title: str
    parts: dict[str, str]
    """Metric -> its name in the legend."""
    about: str = ""
    """Empty: the meaning of the only metric."""
    zeros: bool = False
    """Whether to show a curve of zeros: it says that something did not happen."""


RL = (
    Group(
        "Accuracy",
        {"eval/accuracy": "held-out records", "reward/result": "training samples"},
        "share of right verdicts",
    ),
    Group("Reward", {"reward/total": "total"}),
    Group(
        "Parts of the reward",
        {
            "reward/format": "format",
            "reward/result": "result",
            "reward/consistency": "consistency",
            "reward/swap": "swap",
            "reward/repetition": "repetition",
            "reward/overlong": "overlong",
        },
        "before weights; consistency over right verdicts only",
    ),
    Group("Response length", {"rollout/tokens_mean": "tokens"}, "mean completion length, tokens"),
    Group(
        "Log-ratio",
        {"loss/log_ratio_max": "largest", "loss/log_ratio_min": "smallest"},
        "new to old policy, extremes over the completion tokens",
    ),
    Group(
        "Left out of the update",
        {"advantage/filtered_frac": "advantage filter", "loss/pre_clip_frac": "Pre-CLIP"},
        "share of completion tokens",
        zeros=True,
    ),
    Group("The judge agrees", {"judge/agreement_frac": "agreement"}),
    Group("The judge gave no answer", {"judge/no_verdict_count": "pairs"}),
    Group(
        "Without a verdict, or cut",
        {
            "rollout/unparsable_frac": "without verdict",
            "rollout/truncated_frac": "cut at the limit",
        },
        "share of completions",
        zeros=True,
    ),
    Group("Position bias", {"rollout/verdict_1_frac": "says 1"}),
    Group("Entropy", {"loss/entropy": "entropy"}),
    Group("KL from the old policy", {"loss/kl_old": "KL"}),
    Group("KL from the reference", {"loss/kl_reference": "KL"}),
    Group("Gradient norm", {"loss/grad_norm": "norm"}),
)
SUPERVISED = (
    Group("Loss", {"loss/total": "loss"}),
    Group("Accuracy", {"eval/accuracy": "held-out records", "scalar/accuracy": "training pairs"}),
    Group("Margin", {"scalar/margin": "margin"}),
    Group("Entropy", {"loss/entropy": "entropy"}),
    Group("Gradient norm", {"loss/grad_norm": "norm"}),
)
WEIGHTED = {
    "reward/swap": "swap_weight",
    "reward/repetition": "repetition_weight",
    "reward/overlong": "length_weight",
}
"""Parts of a reward that are shown with the others only where they weigh something."""


def curves(runs: Sequence[Run]) -> str:
    """The curves of all phases; empty if there are none."""
    phases = list(dict.fromkeys(phase for run in runs for phase in run.curves))
    phases.sort(key=lambda phase: phase != "rl")  # what the rest leads up to comes first
    return "".join(_phase(runs, phase) for phase in phases)


def _phase(runs: Sequence[Run], phase: str) -> str:
    names = list(dict.fromkeys(m for run in runs for m in run.curves.get(phase, ())))
    groups = RL if "reward/total" in names else SUPERVISED
    unit = UNITS.get(phase, "update")
    charts, seen, alone = [], set(), []
    for title, parts, about in _shown(groups, runs, phase):
        if {*parts} not in alone:  # a part of a group may have a chart of its own
            charts.append(_chart(runs, phase, title, parts, about, unit))
            seen |= parts.keys()
            alone.append({*parts})
    charts += time_charts(runs, phase, unit)
    if TIMES.keys() & set(names):
        seen |= {*TIMES, STEP}
    rest = [name for name in names if name not in seen]
    if not any(charts):  # a phase of another kind: nothing is worth hiding
        charts = [_chart(runs, phase, m, {m: m}, meaning(m), unit) for m in rest]
        rest = []
    title = PHASES.get(phase, phase)
    small = f" <small>{escape(phase)}</small>" if title != phase else ""
    return (
        f'<section class="phase"><h3>{escape(title)}{small}</h3>'
        f'<div class="charts">{"".join(charts)}</div>{_all(runs, phase, rest, unit)}</section>'
    )


def _shown(
    groups: Sequence[Group], runs: Sequence[Run], phase: str
) -> Iterator[tuple[str, dict[str, str], str]]:
    """Title, parts and words of each chart. Lines of several runs that would be more than two for
    each are taken apart into a chart per metric."""
    for group in groups:
        parts = {m: label for m, label in group.parts.items() if _used(runs, phase, m)}
        if not parts or not (group.zeros or any(_nonzero(runs, phase, m) for m in parts)):
            continue
        if len(runs) > 1 and len(parts) > 2:
            for metric, label in parts.items():
                yield f"{group.title}: {label}", {metric: label}, meaning(metric)
        else:
            only = meaning(next(iter(parts))) if len(parts) == 1 else ""
            yield group.title, parts, only or group.about


def _used(runs: Sequence[Run], phase: str, metric: str) -> bool:
    """Whether there is a finite value; of a weighted part, in a run where it weighs something."""
    weight = WEIGHTED.get(metric)
    return any(
        value is not None
        for run in runs
        if weight is None or (run.config.get("rl") or {}).get(weight)
        for _, value in run.curve(phase, metric)
    )


def _nonzero(runs: Sequence[Run], phase: str, metric: str) -> bool:
    return any(value for run in runs for _, value in run.curve(phase, metric))


def _chart(
    runs: Sequence[Run], phase: str, title: str, parts: dict[str, str], about: str, unit: str
) -> str:
    """One run: a colour per part. Several: a colour per run, a dash per part."""
    series = []
    for r, run in enumerate(runs):
        for p, (metric, label) in enumerate(parts.items()):
            points = run.curve(phase, metric)
            if not points:
                continue
            n, dash, name = p, 0, label
            if len(runs) > 1:
                n, dash, name = r, p, f"{run.name}, {label}" if len(parts) > 1 else run.name
            tip = f"{metric}: {meaning(metric)}" if metric in METRICS else metric
            dash = (dash + n // COLORS) % DASHES
            series.append(Series(name, points, n % COLORS + 1, dash, tip))
    return line_chart(Frame(title, about, unit), series)


# -------------------------------------------------------------- everything


def _all(runs: Sequence[Run], phase: str, names: Sequence[str], unit: str) -> str:
    """All other metrics: charts of those that change, a table of those that do not."""
    same = {m: value for m in names if (value := _constant(runs, phase, m)) is not None}
    charts = "".join(
        _chart(runs, phase, m, {m: m}, meaning(m), unit) for m in names if m not in same
    )
    rows = "".join(
        f"<tr><th scope=row>{escape(m)}</th><td>{short(value)}</td>"
        f"<td>{escape(meaning(m))}</td></tr>"
        for m, value in same.items()
    )
    table = (
        '<div class="scroll"><table><caption>The same at every step</caption><thead><tr>'
        '<th scope="col">metric</th><th scope="col">value</th><th scope="col">meaning</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )
    if not charts and not rows:
        return ""
    body = (f'<div class="charts">{charts}</div>' if charts else "") + (table if rows else "")
    return f"<details><summary>All metrics ({len(names)} more)</summary>{body}</details>"


def _constant(runs: Sequence[Run], phase: str, metric: str) -> float | None:
    """The only value of a metric in all runs; None if there are several, or none."""
    values = {v for run in runs for _, v in run.curve(phase, metric)}
    return values.pop() if len(values) == 1 else None
