"""What a model said about a record: in one order, and in both."""

from dataclasses import dataclass, replace

from r1reward_jax.types import Completion, Record, Verdict


@dataclass(frozen=True)
class Judgement:
    """One record in one order (as shown to the model), and what the model says about it."""

    record: Record
    verdicts: tuple[Verdict | None, ...]
    completions: tuple[Completion, ...] = ()
    """What was written, one text per verdict; none by a scalar reward model."""
    scores: tuple[float, float] | None = None
    """What a scalar reward model gave the two responses."""
    skipped: bool = False
    """Whether its prompt is too long for the model to be asked; no verdict is a wrong one."""
    probabilities: tuple[float | None, ...] = ()
    """Of the verdict 1, one per verdict: by its token, or by the scores."""
    prompt_tokens: int = 0

    def only(self, which: slice) -> "Judgement":
        """With some of its samples."""
        return replace(
            self,
            verdicts=self.verdicts[which],
            completions=self.completions[which],
            probabilities=self.probabilities[which],
        )


@dataclass(frozen=True)
class Shown:
    """A record in one order, and what the model said about it; verdicts are positions as shown."""

    preferred: Verdict
    verdict: Verdict | None
    """The greedy one; None where it cannot be read."""
    probability: float | None = None
    """Of the verdict 1, by the answer token behind the greedy analysis; None without verdict."""
    votes: tuple[Verdict | None, ...] = ()
    """Of the samples, in the order in which they are drawn; None where one cannot be read."""
    vote_probabilities: tuple[float | None, ...] = ()
    """Of the verdict 1, one for each vote."""
    tokens: int = 0
    """Of the greedy completion."""
    vote_tokens: tuple[int, ...] = ()
    """Of the samples' completions."""
    prompt_tokens: int = 0
    well_formed: bool = False
    """Whether the greedy completion has the format of training."""
    cut: bool = False
    """Whether the greedy completion ran into the length limit."""
    skipped: bool = False
    """Whether the prompt was too long for the model to be asked."""
    stopped: bool = False
    """Whether sampling ended before all votes were in, because the outcome was clear."""
    stopped_tokens: int = 0
    """Of samples that were begun, and not ended for that."""


@dataclass(frozen=True)
class Judged:
    """A record in both orders."""

    row: int
    """Position in the benchmark, from 0."""
    id: str
    group: str
    """Of the benchmark; empty if it has none."""
    unit: str
    """What pairs that belong together share (the id of MM-RLHF); else the row's number."""
    orders: tuple[Shown, Shown]
    """As stored, and swapped."""
