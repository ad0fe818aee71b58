"""Central types: one word per concept, used by every room of the house.

Axis legend, used in every signature and einsum string of the package (a test reads it: three spaces
between entries, two behind a symbol, one meaning each):

    B  rows of a batch             M  samples per prompt     T  tokens of a sequence
    C  tokens of a completion      D  width of the model     V  vocabulary
    L  layers                      K  key/value heads        G  query heads per key/value head
    H  head dimension              half  = H / 2             S  keys (attended positions)
    X  = G T, queries of a key     I  images of a row        P  patches of an image
    Q  = P / 4, merged patches     IQ  = I Q                 E  numbers of a raw patch
    W  slots of padded windows     Z  output width of a layer, where it is not D
    A  active samples of a prompt, those that are decoded at a time (at most M)
    R  rows of an inner batch: prompts of a prefill, images or windows of the vision tower

`_` is an axis that may be empty or of any size, `...` any number of leading axes. Host-side types
are frozen dataclasses, device-side ones NamedTuples of arrays (plain pytrees). Rows are
right-padded and carry their length.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from r1reward_jax.errors import DivergedError as DivergedError
from r1reward_jax.errors import InputError as InputError

Verdict = Literal[1, 2]
"""Position, 1 or 2, of the response that is judged the better one."""

if TYPE_CHECKING:
    Array = Any
else:

    class _IsArray(type):
        # Importing JAX here would cost every command a second; where it was never imported, nothing
        # is an array of it.
        def __instancecheck__(cls, value: Any) -> bool:
            jax = sys.modules.get("jax")
            return isinstance(value, np.ndarray if jax is None else (jax.Array, np.ndarray))

    class Array(metaclass=_IsArray):
        """An array on a device, or still on the host."""


Params = dict[str, Any]
"""A nested dict of arrays, the parameters of one model."""


# ---------------------------------------------------------------- host side


@dataclass(frozen=True)
class ImagePart:
    """An image inside a prompt: a path, a PIL image or encoded bytes."""

    image: Any


@dataclass(frozen=True)
class VideoPart:
    """A video inside a prompt: frames in order (iterated when the prompt is encoded)."""

    frames: Collection[Any]
    """Images as in ImagePart, all of one size."""
    fps: float
    """Frames per second, of these frames."""


@dataclass(frozen=True)
class PreferenceRecord:
    """A question about images, two responses, and which of them people prefer.

    `images` holds paths, PIL images or encoded bytes. `preferred` is None for records to be judged
    whose label is unknown.
    """

    id: str
    question: str
    responses: tuple[str, str]
    preferred: Verdict | None
    images: tuple[Any, ...] = ()
    video: VideoPart | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def swapped(self) -> "PreferenceRecord":
        """The same record with its two responses (and the label) in the other order."""
        swapped = (self.responses[1], self.responses[0])
        flipped = None if self.preferred is None else other(self.preferred)
        return replace(self, responses=swapped, preferred=flipped)


@dataclass(frozen=True)
class Candidate:
    """What may be relevant to a query: a text, and images or a video of its own."""

    text: str
    images: tuple[Any, ...] = ()
    """As in PreferenceRecord."""
    video: VideoPart | None = None


@dataclass(frozen=True)
class RelevanceRecord:
    """A query, two candidates, and which of them is more relevant to it."""

    id: str
    query: str
    candidates: tuple[Candidate, Candidate]
    preferred: Verdict | None
    meta: dict[str, Any] = field(default_factory=dict)

    def swapped(self) -> "RelevanceRecord":
        """The same record with its candidates, images and all, in the other order."""
        flipped = None if self.preferred is None else other(self.preferred)
        return replace(self, candidates=self.candidates[::-1], preferred=flipped)


Record = PreferenceRecord | RelevanceRecord
"""What an evaluator can be asked about."""


def other(verdict: Verdict) -> Verdict:
    """The other position: 2 for 1, 1 for 2."""
    return 2 if verdict == 1 else 1


@dataclass(frozen=True)
class Prompt:
    """A system message and one user turn of text, images and videos. Text is never markup."""

    system: str
    content: tuple[str | ImagePart | VideoPart, ...]


@dataclass(frozen=True)
class Completion:
    """What the policy wrote after a prompt. `token_ids` include the end token if there is one."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: Literal["eos", "length", "stopped"]
    """Its end token, the longest length, or that nobody wanted the rest (`Engine.generate`)."""
    answer_gaps: Any = field(default=None, compare=False, repr=False)
    """Of each token (`RolloutBatch.answer_gap`), a host array; None where they were not noted."""


@dataclass(frozen=True)
class RewardBreakdown:
    """The parts of a reward and their combination (paper, section 4.3; the last three are not the
    paper's)."""

    format: float
    result: float
    consistency: float
    total: float
    swap: float = 0.0
    repetition: float = 0.0
    overlong: float = 0.0


@dataclass(frozen=True)
class EncodedPrompt:
    """A tokenised, unpadded prompt as a processor makes it."""

    token_ids: Int[np.ndarray, " T"]
    positions: Int[np.ndarray, "T 3"]
    """M-RoPE positions (time, height, width)."""
    rope_delta: int
    """What to add to a token's index to get its position, for tokens after the prompt."""
    is_vision: Bool[np.ndarray, " T"]
    """True where a visual token stands."""
    images: tuple[Any, ...] = ()
    """Images, and temporal patches of videos, in order of appearance."""


@dataclass(frozen=True)
class PromptSize:
    """How large a prompt is, without decoding its images."""

    tokens: int
    """Visual tokens included."""
    images: int
    """Images, and temporal patches of videos."""
    patches: int
    """Of its largest image."""
    problem: str = ""
    """Why no batch of any size can hold it."""

    def misfit(self, buckets: Any, spare: int = 0) -> str | None:
        """Return why the prompt, and so many tokens behind it, is larger than any batch of some
        buckets (`Processor.buckets`); None if it is not."""
        if self.problem:
            return self.problem
        needed = {
            "tokens": (self.tokens + spare, ""),
            "images": (self.images, " (pairs of frames too)"),
            "patches": (self.patches, " of an image"),
        }
        for name, (size, remark) in needed.items():
            largest = max(getattr(buckets, name))
            if size > largest:
                return f"{size} {name}{remark}, the largest of buckets.{name} is {largest}"
        return None


# -------------------------------------------------------------- device side


class VisionInputs(NamedTuple):
    """Images and temporal patches of videos (two frames each) of a batch, padded one by one;
    patches in window order, see `models`."""

    patches: Float[Array, "B I P E"]
    rotary_ids: Int[Array, "B I P 2"]
    """Row and column of each patch."""
    window_slots: Int[Array, "B I W"]
    """For each slot of the padded windows, the patch in it; P where the slot is empty."""
    patch_slots: Int[Array, "B I P"]
    """For each patch, its slot in the padded windows."""
    lengths: Int[Array, "B I"]
    """Real patches of each image; 0 for images that only pad the row."""


class PromptBatch(NamedTuple):
    """Right-padded token rows with their M-RoPE positions and images."""

    tokens: Int[Array, "B T"]
    lengths: Int[Array, " B"]
    positions: Int[Array, "B T 3"]
    rope_delta: Int[Array, " B"]
    vision_index: Int[Array, "B T"]
    """Which merged patch of the row (image * Q + patch) stands here; -1 for text."""
    vision: VisionInputs | None


class RolloutBatch(NamedTuple):
    """Sampled completions: M samples for each of B prompts."""

    tokens: Int[Array, "B M C"]
    lengths: Int[Array, "B M"]
    """Tokens up to and with the end token; C if none was sampled."""
    finished: Bool[Array, "B M"]
    logp: Float[Array, "B M C"]
    """Log-probability of each sampled token under the sampling policy at the temperature of the
    sample, over the whole vocabulary; at temperature 1 for greedy samples."""
    answer_gap: Float[Array, "B M _"]
    """Logit of the first answer token minus that of the second where each token was chosen, at
    temperature 1; no columns without answer tokens (`SamplerConfig.answers`)."""


class TrainBatch(NamedTuple):
    """What one update sees: full sequences, and per-token targets of their completions."""

    inputs: PromptBatch
    """Prompt and completion together."""
    prompt_lengths: Int[Array, " B"]
    completions: Int[Array, "B C"]
    mask: Bool[Array, "B C"]
    """True on completion tokens, false on padding."""
    old_logp: Float[Array, "B C"]
    """Under the policy before this rollout's updates, by the trainer or by the sampler."""
    sampler_logp: Float[Array, "B C"]
    """As the sampler recorded it."""
    on_policy: Bool[Array, " B"]
    """True where that policy is the one being updated: its own log-probs are the old ones."""
    advantages: Float[Array, "B C"]

    @property
    def size(self) -> tuple[int, int]:
        """Rows, and the padded tokens of one."""
        return self.inputs.tokens.shape


class PairBatch(NamedTuple):
    """What one update of a scalar reward model sees: the prompts of B records, each followed by the
    preferred response and by the other one; padded alike."""

    better: PromptBatch
    worse: PromptBatch

    @property
    def size(self) -> tuple[int, int]:
        """Rows (pairs), and the padded tokens of one."""
        rows, width = self.better.tokens.shape
        return rows, 2 * width


class TrainState(NamedTuple):
    """Everything an update changes."""

    step: Int[Array, ""]
    params: Params
    opt_state: Any


class Cache(NamedTuple):
    """Keys and values: of the prompt (read-only, one per prompt), of the completions (one each)."""

    prompt_k: Float[Array, "L B K S H"]
    prompt_v: Float[Array, "L B K S H"]
    prompt_lengths: Int[Array, " B"]
    k: Float[Array, "L B K A C H"]
    v: Float[Array, "L B K A C H"]


# ----------------------------------------------------------------- protocols


@runtime_checkable
class LanguageModel(Protocol):
    """A model as `rl`, `rollout`, `judge` and `train` see it: pure functions of its params."""

    def hidden(self, params: Params, inputs: PromptBatch, *, remat: bool) -> Float[Array, "B T D"]:
        """Final hidden states of whole sequences."""
        ...

    def head(self, params: Params) -> Float[Array, "D V"]:
        """The output projection from hidden states to logits."""
        ...

    def prefill(
        self, params: Params, inputs: PromptBatch, *, samples: int, capacity: int
    ) -> tuple[Float[Array, "B D"], Cache]:
        """Hidden state at each row's last token, and a cache with room for the completions."""
        ...

    def decode(
        self,
        params: Params,
        tokens: Int[Array, "B A"],
        positions: Int[Array, "B A"],
        slot: Int[Array, ""],
        visible: Bool[Array, "B A C"],
        cache: Cache,
        *,
        unroll: bool,
    ) -> tuple[Float[Array, "B A D"], Cache]:
        """One token further: writes one slot of the completion cache, attends to the prompt and to
        what is visible of the completion."""
        ...


class Tokenizer(Protocol):
    """Text to tokens and back."""

    tokenizer: Any
    """The Hugging Face tokenizer behind it; its length is the size of the vocabulary."""
    eos_ids: tuple[int, ...]
    pad_id: int
    banned_ids: tuple[int, ...]
    """Tokens that must never be sampled (vision placeholders)."""

    def encode_completion(self, text: str) -> list[int]:
        """Return the tokens of a completion, the end token included."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of sampled tokens, without the end token."""
        ...

    def token_id(self, text: str) -> int:
        """Return the id of a text that is one token. Raises InputError for any other text."""
        ...


class Processor(Tokenizer, Protocol):
    """Text and images to arrays."""

    buckets: Any
    """The sizes that batches are padded to; its `tokens`, `images` and `patches` rise."""

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Return the tokens and the pixels of a prompt."""
        ...

    def measure(self, prompt: Prompt) -> PromptSize:
        """Return how large a prompt is. Images are not decoded."""
        ...

    def misfit(self, prompt: Prompt, *, spare: int = 0) -> str | None:
        """Return why a prompt, and so many tokens, is larger than any batch; None if it is not.
        Images are not decoded."""
        ...

    def fits(self, prompt: EncodedPrompt) -> bool:
        """Return whether an encoded prompt has room in the largest batch."""
        ...

    def width(self, prompts: Sequence[EncodedPrompt]) -> int:
        """Return the padded tokens of a batch of these prompts."""
        ...

    def collate(
        self,
        prompts: Sequence[EncodedPrompt],
        completions: Sequence[Sequence[int]] | None = None,
        *,
        rows: int | None = None,
        completion_capacity: int | None = None,
    ) -> PromptBatch:
        """Return the prompts, each followed by its completion, as one padded batch."""
        ...

    def with_buckets(self, buckets: Any) -> "Processor":
        """Return the same processor, with other sizes."""
        ...


class Judge(Protocol):
    """Says whether an analysis supports a verdict."""

    batch: int
    """Pairs that the judge scores together; callers collect so many where they can."""

    def start(self, pairs: Sequence[tuple[str, Verdict]]) -> Callable[[], Sequence[float | None]]:
        """Begin to score pairs and return at once; the function returned waits for what `score`
        returns. Several calls may be under way; all processes start and wait in the same order."""
        ...

    def score(self, pairs: Sequence[tuple[str, Verdict]]) -> Sequence[float | None]:
        """Return P(supports) of each (analysis, verdict), the judge's probability that the analysis
        supports the verdict; None where it gave none."""
        ...


def check(batch: PromptBatch) -> None:
    """Raise InputError unless the arrays of a batch fit one another. Called at phase boundaries."""
    rows, length = batch.tokens.shape
    expected = {
        "lengths": (batch.lengths, (rows,)),
        "positions": (batch.positions, (rows, length, 3)),
        "rope_delta": (batch.rope_delta, (rows,)),
        "vision_index": (batch.vision_index, (rows, length)),
    }
    if batch.vision is not None:
        images, patches = batch.vision.patches.shape[1:3]
        expected |= {
            "rotary_ids": (batch.vision.rotary_ids, (rows, images, patches, 2)),
            "patch_slots": (batch.vision.patch_slots, (rows, images, patches)),
            "vision lengths": (batch.vision.lengths, (rows, images)),
        }
    wrong = [
        f"{name} is {array.shape}, expected {shape}"
        for name, (array, shape) in expected.items()
        if array.shape != shape
    ]
    if wrong:
        raise InputError(f"PromptBatch of {rows} rows x {length} tokens: " + "; ".join(wrong))


def batch_rows(batch: Any, rows: Any) -> Any:
    """Return the given rows of every array of a batch."""
    import jax  # here, because readers of records need no JAX

    return jax.tree.map(lambda x: x[rows], batch)
