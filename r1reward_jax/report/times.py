"""Where the seconds of an iteration go."""

from collections.abc import Sequence

from r1reward_jax.report.charts import Frame, Series, stacked_chart
from r1reward_jax.report.read import Run
from r1reward_jax.report.scale import short, value_axis

TIMES = {
    "time/update_s": "updates",
    "time/rollout_s": "rollout",
    "time/logprobs_s": "log-probs",
    "time/judge_s": "judge",
    "time/host_s": "host",
}
STEP = "time/step_s"


def time_charts(runs: Sequence[Run], phase: str, unit: str) -> list[str]:
    """A chart per run, all on one scale; none without times."""
    stacks = [(run, _stack(run, phase)) for run in runs]
    stacks = [(run, stack) for run, stack in stacks if stack]
    totals = [sum(at.values()) for _, stack in stacks for at in stack.values()]
    if not totals or not max(totals):
        return []
    top = scale_top(totals)
    charts = []
    for run, stack in stacks:
        steps = sorted(stack)
        known = (*TIMES.values(), "other")
        labels = [label for label in known if any(label in at for at in stack.values())]
        parts = [
            Series(label, tuple((s, stack[s].get(label, 0.0)) for s in steps), i + 1)
            for i, label in enumerate(labels)
        ]
        about = "seconds; the host's partly go by while the devices sample" + _cut(stack, top, unit)
        title = f"Time: {run.name}" if len(runs) > 1 else "Time"
        charts.append(stacked_chart(Frame(title, about, unit), parts, steps, top))
    return charts


def _stack(run: Run, phase: str) -> dict[int, dict[str, float]]:
    """Step -> part -> seconds; "other" is what the parts leave of the whole step."""
    found: dict[int, dict[str, float]] = {}
    for metric, label in TIMES.items():
        for step, value in run.curve(phase, metric):
            found.setdefault(step, {})[label] = value or 0.0
    for step, value in run.curve(phase, STEP):
        if step in found:
            found[step]["other"] = max(0.0, (value or 0.0) - sum(found[step].values()))
    return found


def scale_top(totals: Sequence[float]) -> float:
    """Where a scale ends: at the largest, but for a few that would dwarf the rest (the first step
    compiles)."""
    ordered = sorted(totals)
    few = max(1, len(ordered) // 20)
    kept = ordered[: max(1, len(ordered) - few)]
    return kept[-1] if ordered[-1] > 2 * kept[-1] and kept[-1] > 0 else ordered[-1]


def _cut(stack: dict[int, dict[str, float]], top: float, unit: str) -> str:
    end = value_axis([top], whole=True).high
    beyond = [(step, sum(at.values())) for step, at in sorted(stack.items())]
    beyond = [f"{unit} {step} ({short(total)} s)" for step, total in beyond if total > end]
    more = f" and {len(beyond) - 3} more" if len(beyond) > 3 else ""
    return f"; beyond the scale: {', '.join(beyond[:3])}{more}" if beyond else ""
