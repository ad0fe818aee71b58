"""The charts of a run's metrics: per phase the ones to look at first; the rest is folded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from r1reward_jax.report.charts import DASHES, Chart, Frame, Series, line_chart, stacked_chart
from r1reward_jax.report.read import UNITS, Run, mapping
from r1reward_jax.report.scale import short, value_axis
from r1reward_jax.report.view import COLORS, Table, color_of, titles
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
    """Metrics that share a chart."""

    title: str
    parts: dict[str, str]
    """Metric -> its name in the legend."""
    about: str = ""
    """Empty: the meaning of the only metric."""
    zeros: bool = False
    """Whether a curve of zeros is shown: it says that something did not happen."""


_MACHINE = (
    Group("Learning rate", {"optimizer/lr": "rate"}),
    Group(
        "Tokens per second",
        {
            "time/rollout_tokens_per_s": "sampled",
            "time/tokens_per_s": "of an iteration",
            "time/trained_tokens_per_s": "trained",
        },
        "sampled: over the time of sampling",
    ),
    Group(
        "Memory",
        {
            "memory/device_gib": "device",
            "memory/device_peak_gib": "device, most so far",
            "memory/host_gib": "host",
        },
        "GiB; of the fullest device",
    ),
)
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
        "Filtered or clipped",
        {"advantage/filtered_frac": "advantage filter", "loss/pre_clip_frac": "Pre-CLIP"},
        "share of completion tokens",
        zeros=True,
    ),
    Group("The judge agrees", {"judge/agreement_frac": "agreement"}),
    Group("The judge gave no answer", {"judge/no_verdict_count": "pairs"}),
    Group(
        "Unparsable or truncated",
        {"rollout/unparsable_frac": "unparsable", "rollout/truncated_frac": "truncated"},
        "share of completions",
        zeros=True,
    ),
    Group("Position bias", {"rollout/verdict_1_frac": "names the first"}),
    Group("Entropy", {"loss/entropy": "entropy"}),
    Group("KL from the old policy", {"loss/kl_old": "KL"}),
    Group("KL from the reference", {"loss/kl_reference": "KL"}),
    Group("Gradient norm", {"loss/grad_norm": "norm"}),
    *_MACHINE,
)
SUPERVISED = (
    Group("Loss", {"loss/total": "loss"}),
    Group("Accuracy", {"eval/accuracy": "held-out records", "scalar/accuracy": "training pairs"}),
    Group("Margin", {"scalar/margin": "margin"}),
    Group("Entropy", {"loss/entropy": "entropy"}),
    Group("Gradient norm", {"loss/grad_norm": "norm"}),
    *_MACHINE,
)
WEIGHTED = {
    "reward/swap": "swap_weight",
    "reward/repetition": "repetition_weight",
    "reward/overlong": "length_weight",
}
"""Parts of a reward that are shown with the others only where they weigh something."""


TIMES = {
    "time/update_s": "updates",
    "time/rollout_s": "rollout",
    "time/logprobs_s": "log-probs",
    "time/judge_s": "judge",
    "time/host_s": "host",
}
"""Parts of an iteration, from the bottom of their chart to its top."""
STEP = "time/step_s"


@dataclass(frozen=True)
class Phase:
    """The curves of a phase of training."""

    title: str
    name: str
    """Its name in metrics.jsonl; empty where the title says the same."""
    charts: Sequence[Chart]
    more: Sequence[Chart]
    """Charts of all other metrics that change."""
    same: Table
    """All other metrics that do not."""


def curves(runs: Sequence[Run]) -> list[Phase]:
    """Return the curves of all phases, reinforcement learning first: it is what the rest is for."""
    phases = list(dict.fromkeys(phase for run in runs for phase in run.curves))
    phases.sort(key=lambda phase: phase != "rl")
    return [_phase(runs, phase) for phase in phases]


def _phase(runs: Sequence[Run], phase: str) -> Phase:
    names = list(dict.fromkeys(m for run in runs for m in run.curves.get(phase, ())))
    groups = RL if "reward/total" in names else SUPERVISED
    charts, seen, alone = [], set(), []
    for title, parts, about in _shown(groups, runs, phase):
        if {*parts} not in alone:  # a part of a group may have a chart of its own
            charts.append(_chart(runs, phase, title, parts, about))
            seen |= parts.keys()
            alone.append({*parts})
    seen |= {end for metric in names for end in ends_of(metric) if metric in seen}
    charts += time_charts(runs, phase)
    if TIMES.keys() & set(names):
        seen |= {*TIMES, STEP}
    rest = [name for name in names if name not in seen]
    same = {m: value for m in rest if (value := _constant(runs, phase, m)) is not None}
    changing = [m for m in rest if m not in same]
    if not any(charts):  # a phase of another kind: nothing is worth folding
        changing, same = rest, {}
    more = [_chart(runs, phase, m, {m: m}, about_metric(m)) for m in changing]
    shown = [chart for chart in charts if chart]
    hidden = [chart for chart in more if chart]
    if not shown:
        shown, hidden = hidden, []
    title = PHASES.get(phase, phase)
    rows = [(m, value, about_metric(m)) for m, value in same.items()]
    table = Table("The same at every step", rows, titles("metric", "value", "meaning"))
    return Phase(title, phase if title != phase else "", shown, hidden, table)


def ends_of(metric: str) -> tuple[str, str]:
    """Return the metrics with the ends of a metric's interval, where a run has them."""
    return f"{metric}_low", f"{metric}_high"


def about_metric(name: str) -> str:
    """Return what a metric means, with its unit where the meaning does not imply it; empty for one
    that is not in the table."""
    unit = METRICS[name].unit if name in METRICS else ""
    said = unit in ("", "frac", "score", "count")
    return meaning(name) if said else f"{meaning(name)}, {unit}"


def _shown(
    groups: Sequence[Group], runs: Sequence[Run], phase: str
) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield title, parts and words of each chart. Where several runs would give more than two lines
    each, every metric gets a chart of its own."""
    for group in groups:
        parts = {m: label for m, label in group.parts.items() if _used(runs, phase, m)}
        if not parts or not (group.zeros or any(_nonzero(runs, phase, m) for m in parts)):
            continue
        if len(runs) > 1 and len(parts) > 2:
            for metric, label in parts.items():
                yield f"{group.title}: {label}", {metric: label}, about_metric(metric)
        else:
            only = about_metric(next(iter(parts))) if len(parts) == 1 else ""
            yield group.title, parts, only or group.about


def _used(runs: Sequence[Run], phase: str, metric: str) -> bool:
    """Return whether a metric has a finite value; that of a weighted reward counts only in runs in
    which it weighs something."""
    weight = WEIGHTED.get(metric)
    return any(
        value is not None
        for run in runs
        if weight is None or mapping(run.config.get("rl")).get(weight)
        for _, value in run.curve(phase, metric)
    )


def _nonzero(runs: Sequence[Run], phase: str, metric: str) -> bool:
    return any(value for run in runs for _, value in run.curve(phase, metric))


def _chart(
    runs: Sequence[Run], phase: str, title: str, parts: dict[str, str], about: str
) -> Chart | None:
    """Return a chart: of one run with a colour per part, of several with a colour per run and a
    dash per part."""
    series = []
    for r, run in enumerate(runs):
        for p, (metric, label) in enumerate(parts.items()):
            points = run.curve(phase, metric)
            if not points:
                continue
            n, dash, name = p, 0, label
            if len(runs) > 1:
                n, dash, name = r, p, f"{run.name}, {label}" if len(parts) > 1 else run.name
            tip = f"{metric}: {about_metric(metric)}" if metric in METRICS else metric
            dash = (dash + n // COLORS) % DASHES
            low, high = (run.curve(phase, end) for end in ends_of(metric))
            series.append(Series(name, points, color_of(n), dash, tip, (low, high)))
    if any(low and high for s in series if s.band for low, high in [s.band]):
        about += "; the band is the 95 % interval"
    return line_chart(Frame(title, about, UNITS.get(phase, "update")), series)


def _constant(runs: Sequence[Run], phase: str, metric: str) -> str | None:
    """Return the only value of a metric in all runs, as text; None if there are several."""
    values = {v for run in runs for _, v in run.curve(phase, metric)}
    if len(values) != 1:
        return None
    (value,) = values
    return "not finite" if value is None else short(value)


# -------------------------------------------------------------------- times


def time_charts(runs: Sequence[Run], phase: str) -> list[Chart]:
    """Return where the seconds of a step go, a chart per run, all on one scale; none without
    times."""
    stacks = [(run, _stack(run, phase)) for run in runs]
    stacks = [(run, stack) for run, stack in stacks if stack]
    totals = [sum(at.values()) for _, stack in stacks for at in stack.values()]
    if not totals or not max(totals):
        return []
    top, unit = scale_top(totals), UNITS.get(phase, "update")
    charts = []
    for run, stack in stacks:
        steps = sorted(stack)
        known = (*TIMES.values(), "other")
        labels = [label for label in known if any(label in at for at in stack.values())]
        parts = [
            Series(label, tuple((s, stack[s].get(label, 0.0)) for s in steps), i + 1)
            for i, label in enumerate(labels)
        ]
        about = "seconds; the host works in part while the devices sample"
        about += _beyond(stack, top, unit)
        title = f"Time: {run.name}" if len(runs) > 1 else "Time"
        charts.append(stacked_chart(Frame(title, about, unit), parts, steps, top))
    return charts


def _stack(run: Run, phase: str) -> dict[int, dict[str, float]]:
    """Return step -> part -> seconds; "other" is what the parts leave of the whole step."""
    found: dict[int, dict[str, float]] = {}
    for metric, label in TIMES.items():
        for step, value in run.curve(phase, metric):
            found.setdefault(step, {})[label] = value or 0.0
    for step, value in run.curve(phase, STEP):
        if step in found:
            found[step]["other"] = max(0.0, (value or 0.0) - sum(found[step].values()))
    return found


def scale_top(totals: Sequence[float]) -> float:
    """Return where a scale ends: at the largest total, but for a few that would dwarf the rest (the
    first step compiles)."""
    ordered = sorted(totals)
    few = max(1, len(ordered) // 20)
    kept = ordered[: max(1, len(ordered) - few)]
    return kept[-1] if ordered[-1] > 2 * kept[-1] and kept[-1] > 0 else ordered[-1]


def _beyond(stack: dict[int, dict[str, float]], top: float, unit: str) -> str:
    """Return which columns are cut off at the end of the scale; empty if none is."""
    end = value_axis([top], whole=True).high
    beyond = [(step, sum(at.values())) for step, at in sorted(stack.items())]
    beyond = [f"{unit} {step} ({short(total)} s)" for step, total in beyond if total > end]
    more = f" and {len(beyond) - 3} more" if len(beyond) > 3 else ""
    return f"; beyond the scale: {', '.join(beyond[:3])}{more}" if beyond else ""
