"""The Python API: load an exported model and ask which of two responses is better.

model = RewardModel.from_pretrained("runs/rl/exported")
print(model.compare("What is on the table?", "photo.jpg", "A cup.", "A cat."))
print(model.rank("What is on the table?", "photo.jpg", ["A cup.", "A cat.", "A red cup."]).best)
"""

import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import Mesh
from PIL import Image

from r1reward_jax import hub
from r1reward_jax.configs import default  # pyright: ignore[reportMissingImports] (see setup.py)
from r1reward_jax.errors import about
from r1reward_jax.evals.types import ORDERS, Judgement, PairJudgement
from r1reward_jax.images import image_size, open_image
from r1reward_jax.inference import ranking as tournament
from r1reward_jax.inference.chat_inputs import IMAGE_KINDS, to_records
from r1reward_jax.inference.loading import IMAGES, dtype_of, load_comparing, rows_of
from r1reward_jax.inference.pairwise import Reasoner
from r1reward_jax.inference.results import Ranking
from r1reward_jax.inference.scalar import ScalarModel
from r1reward_jax.inference.settings import ModelSettings
from r1reward_jax.models import port_of
from r1reward_jax.sharding import make_mesh
from r1reward_jax.types import InputError, PreferenceRecord, VideoPart

__all__ = ["Judgement", "PairJudgement", "Ranking", "RewardModel"]


class RewardModel:
    """A loaded model. Calls of similar size (tokens, images) share their compiled programs."""

    def __init__(self, judge: Reasoner | ScalarModel, settings: ModelSettings):
        """Use `from_pretrained`."""
        self._judge = judge
        self.settings = settings
        """How the model is asked."""

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike,
        *,
        template: str | None = None,
        max_pixels: int | None = None,
        max_new_tokens: int | None = None,
        video_rule: str | None = None,
        max_prompt_tokens: int | None = None,
        batch_size: int = 8,
        dtype: Any = None,
        mesh: Mesh | None = None,
    ) -> "RewardModel":
        """Load a Hugging Face folder: a reasoning model, or a scalar one if it has a reward head.

        What is not given comes from the folder's r1reward.json, which every export of this package
        has, else from the paper's defaults (configs/default.py). generation_config.json is not
        read: completions are greedy and without repetition penalty, and `max_new_tokens` limits
        them. `r1reward evaluate` takes the settings of a published checkpoint.

        Args:
          path: the folder, or ORG/NAME[@REVISION] of the hub.
          template: wording of the prompts, a name in `prompts.TEMPLATES`; also instead of a
            prompt of the model's own.
          max_pixels: larger images are shrunk.
          max_new_tokens: longest completion.
          video_rule: position of the text that follows a video, "max" or "side".
          max_prompt_tokens: longest prompt, visual tokens included. Longer ones are refused,
            shorter ones pay little for it.
          batch_size: pairs, in both orders, that are decoded at a time. Single comparisons are not
            slower for it.
          dtype: of parameters and forward pass; bfloat16 on accelerators and float32 on CPU.
          mesh: a `sharding.make_mesh` whose data x fsdp divides 2 * batch_size, the rows; the
            default is one device.

        Raises:
          InputError: not such a folder, or a setting that makes no sense.
        """
        folder, defaults = hub.local(os.fspath(path)), default.get_config()
        port = port_of(folder)
        given = {
            "template": template,
            "max_pixels": max_pixels,
            "max_new_tokens": max_new_tokens,
            "video_rule": video_rule,
        }
        settings = ModelSettings.load(folder) or ModelSettings.of(defaults)
        settings = replace(settings, **{k: v for k, v in given.items() if v is not None})
        if template is not None:  # whoever names one wants no prompt of the model's own
            settings = replace(settings, evaluator="", system="")
        longest = max(defaults.buckets.tokens) if max_prompt_tokens is None else max_prompt_tokens
        if longest < 1:
            raise InputError(f"max_prompt_tokens {longest}: expected at least 1")
        mesh = mesh or make_mesh(1, 1, 1, devices=jax.local_devices()[:1])
        rows = rows_of(batch_size, mesh)
        judge = load_comparing(port, folder, settings, longest, rows, dtype_of(dtype), mesh)
        return cls(judge, settings)

    def compare(
        self,
        question: str,
        images: Any,
        a: str,
        b: str,
        *,
        video: VideoPart | None = None,
    ) -> PairJudgement:
        """Judge two responses to a question, greedily and in both orders.

        Args:
          question: about the images.
          images: one, or a list of them: a path, encoded bytes or a PIL image; [] for none.
          a: a response.
          b: the other one.
          video: comes behind the images.

        Raises:
          InputError: an image that cannot be read, a text that is empty, or a prompt that is too
            long.
        """
        for name, text in {"question": question, "a": a, "b": b}.items():
            _require_text(name, text)
        record = PreferenceRecord("", question, (a, b), None, read_images(images), video)
        return self._judge.compare_batch([record], [""])[0]

    def compare_batch(self, records: Sequence[PreferenceRecord]) -> list[PairJudgement]:
        """Judge many pairs, `batch_size` at a time; each comparison is what `compare` would say.

        Texts, and the heads of image files, are looked at before the first pair is judged.

        Args:
          records: their labels do not count, and may be missing.

        Raises:
          InputError: as `compare`; the message names the record by its place, from 0.
        """
        if not isinstance(records, Sequence):
            raise InputError(f"records: expected a list, not {type(records).__name__}")
        names = [f"record {place}" for place in range(len(records))]
        for record, name in zip(records, names, strict=True):
            with about(name):
                _require_record(record)
        return self._judge.compare_batch(records, names)

    def rank(
        self,
        question: str,
        images: Any,
        responses: Sequence[str],
        *,
        video: VideoPart | None = None,
    ) -> Ranking:
        """Order N responses, best first, by a merge sort of comparisons in both orders: at most
        2 N ceil(log2 N) judgements. Without verdict, and at one half, the given order stays.

        Args:
          question: about the images.
          images: as for `compare`.
          responses: one or more.
          video: comes behind the images.

        Raises:
          InputError: as `compare`, or there are no responses.
        """
        sort = lambda count, better: (tournament.merge_sort(count, better), None)  # noqa: E731
        return self._ranked(question, images, responses, video, sort)

    def round_robin(
        self,
        question: str,
        images: Any,
        responses: Sequence[str],
        *,
        video: VideoPart | None = None,
    ) -> Ranking:
        """Rank by the mean probability of being better than each of the others: all N (N - 1)
        judgements."""
        return self._ranked(question, images, responses, video, tournament.round_robin)

    def _ranked(
        self,
        question: str,
        images: Any,
        responses: Sequence[str],
        video: VideoPart | None,
        contest: Callable[[int, tournament.Better], tuple[list[int], list[float] | None]],
    ) -> Ranking:
        _require_text("question", question)
        if isinstance(responses, str) or not isinstance(responses, Sequence) or not responses:
            raise InputError(f"responses {responses!r:.60}: expected a list of one text or more")
        for place, text in enumerate(responses):
            _require_text(f"response {place}", text)
        seen, made = read_images(images), {}

        def better(pairs: list[tournament.Pair]) -> list[float]:
            both = [(responses[i], responses[j]) for i, j in pairs]
            records = [PreferenceRecord("", question, two, None, seen, video) for two in both]
            names = [f"responses {i} and {j}" for i, j in pairs]
            found = self._judge.compare_batch(records, names)
            made.update(zip(pairs, found, strict=True))
            return [0.5 if c.probability is None else c.probability for c in found]

        order, chances = contest(len(responses), better)
        chances = None if chances is None else tuple(chances)
        return Ranking(tuple(order), order[0], 2 * len(made), made, chances)

    def judge(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Sequence[str]],
        shuffle_order: bool = True,
        *,
        return_scores: bool = False,
        seed: int = 0,
    ) -> list[int] | list[float]:
        """Return which of two completions is better, as TRL's pairwise judges do: 0, 1, or -1 where
        there is no verdict. Each pair is judged once, in one order.

        Args:
          prompts: strings, or chats whose last message is the user's and may hold images and a
            video (`inference.chat_inputs`).
          completions: for each prompt, two texts; they may be empty.
          shuffle_order: show each pair in an order drawn from the seed, against position bias;
            False shows them as given.
          return_scores: give the probabilities that the first completion is better instead; nan
            where there is no verdict.
          seed: same seed, prompts and completions, same orders.

        Raises:
          InputError: other shapes, or as `compare`; the message names the pair by its place.
        """
        records = to_records(prompts, completions)
        names = [f"pair {place}" for place in range(len(records))]
        for record, name in zip(records, names, strict=True):
            with about(name):
                _require_record(record, empty=True)
        # of the texts, too: calls with one pair each must not all be in the same order
        drawn = [random.Random(f"{seed}/{r.id}/{r.question}/{r.responses}") for r in records]
        orders = [ORDERS[bool(shuffle_order) and draw.random() < 0.5] for draw in drawn]
        found = self._judge.once(records, orders, names)
        if return_scores:
            return [math.nan if chance is None else chance for _, chance in found]
        return [-1 if verdict is None else verdict - 1 for verdict, _ in found]


def read_images(images: Any) -> tuple[Image.Image, ...]:
    """Return one image or several, opened once for both orders.

    Raises:
      InputError: one cannot be read, there are too many, or it is something else.
    """
    return tuple(open_image(image) for image in _image_list(images))


def _image_list(images: Any) -> Sequence[Any]:
    """Return one image or several as a list. Raises InputError for too many, or no images."""
    found = [images] if isinstance(images, IMAGE_KINDS) else images
    if not isinstance(found, (list, tuple)) or not all(isinstance(i, IMAGE_KINDS) for i in found):
        raise InputError(
            "images: expected a path, bytes or a PIL image, or a list of them ([] for none), not "
            f"{type(images).__name__}"
        )
    if len(found) > max(IMAGES):
        raise InputError(f"{len(found)} images: expected at most {max(IMAGES)}")
    return found


def _require_record(record: Any, *, empty: bool = False) -> None:
    """Raise InputError for what is no record, or is wrong in a way that needs no pixels.

    Args:
      record: a PreferenceRecord; of others that prompts can be made of, only encoding tells.
      empty: whether its responses may be empty.
    """
    if not isinstance(record, PreferenceRecord):
        if not hasattr(record, "swapped"):
            raise InputError(f"expected a PreferenceRecord, not {type(record).__name__}")
        return
    _require_text("question", record.question)
    if not isinstance(record.responses, (list, tuple)) or len(record.responses) != 2:
        raise InputError(f"responses {record.responses!r:.60}: expected two texts")
    for name, text in zip("ab", record.responses, strict=True):
        _require_text(name, text, empty=empty)
    if isinstance(record.images, IMAGE_KINDS):
        raise InputError(f"images: expected several, not one {type(record.images).__name__}")
    for image in _image_list(record.images):
        image_size(image)


def _require_text(name: str, text: Any, *, empty: bool = False) -> None:
    if not isinstance(text, str) or not (text.strip() or empty):
        raise InputError(f"{name} is empty or not a string ({text!r}); expected a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: not valid Unicode ({error}); expected UTF-8 text") from None
