"""Records before they are judged, and as lines of judgements.jsonl."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from r1reward_jax.evals.evaluate import Judgement
from r1reward_jax.models.images import image_size, open_image
from r1reward_jax.prompts import well_formed
from r1reward_jax.types import InputError, Record, RelevanceRecord, VideoPart

EMBEDDED = "embedded"
"""What an image without a path is called."""


def require_images(records: Sequence[Record], threads: int) -> None:
    """Raise InputError for images that are none, as far as their heads tell; names up to five."""

    def problem(row: int) -> str | None:
        try:
            for image in images_of(records[row]):
                image_size(image)
        except InputError as error:
            return f"record {records[row].id} (row {row + 1}): {error}"
        return None

    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = [p for p in pool.map(problem, range(len(records))) if p]
    if found:
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise InputError(f"{'; '.join(found[:5])}{more}")


def judgement_row(judgement: Judgement, number: int) -> dict[str, Any]:
    """A judgement as a line of judgements.jsonl (`evals.judgements` reads it): the first sample is
    the greedy one, the others are votes.

    Args:
      judgement: of a record in one order.
      number: among all judgements, 2 * row + order.
    """
    row, order, record = number // 2, number % 2 + 1, judgement.record
    greedy, votes = judgement.only(slice(1)), judgement.only(slice(1, None))
    whole = [k for k, c in enumerate(votes.completions) if c.finish_reason != "stopped"]
    if not votes.completions:  # of a prompt that was skipped
        whole = list(range(len(votes.verdicts)))
    tokens = [len(c.token_ids) for c in votes.completions]
    place = {
        "row": row,
        "order": order,
        "group": str(record.meta.get("group", "")),
        "unit": str(record.meta.get("unit", row)),
    }
    return (
        place
        | record_row(record)
        | {
            "skipped": judgement.skipped,
            "prompt_tokens": judgement.prompt_tokens,
            "scores": judgement.scores,
            "verdicts": greedy.verdicts,
            "probabilities": greedy.probabilities,
            "texts": [c.text for c in greedy.completions],
            "tokens": [len(c.token_ids) for c in greedy.completions],
            "finish_reasons": [c.finish_reason for c in greedy.completions],
            "well_formed": [well_formed(c.text) for c in greedy.completions],
            "votes": [votes.verdicts[k] for k in whole],
            "vote_probabilities": [votes.probabilities[k] for k in whole],
            "vote_texts": [votes.completions[k].text for k in whole if votes.completions],
            "vote_tokens": [tokens[k] for k in whole if tokens],
            "stopped": len(whole) < len(votes.verdicts),
            "stopped_tokens": sum(tokens) - sum(tokens[k] for k in whole if tokens),
        }
    )


def record_row(record: Record) -> dict[str, Any]:
    """A record, as it was shown to the model, in a line about what the model said. Of embedded
    images it has the beginning of their sha256."""
    if isinstance(record, RelevanceRecord):
        question, holders = record.query, record.candidates
        responses = tuple(c.text for c in record.candidates)
    else:
        question, holders, responses = record.question, (record,), record.responses
    videos = [video_name(holder.video) for holder in holders if holder.video]
    return {
        "id": record.id,
        "question": question,
        "responses": responses,
        "preferred": record.preferred,
        "images": [_image_name(i) for holder in holders for i in holder.images],
    } | ({"videos": videos} if videos else {})


def _image_name(image: Any) -> str:
    if isinstance(image, str):
        return image
    data = image if isinstance(image, bytes) else open_image(image).tobytes()
    return f"{EMBEDDED} {hashlib.sha256(data).hexdigest()[:16]}"


def video_name(video: VideoPart) -> str:
    """The path of a video's file, or of its first frame and how many there are."""
    path = getattr(video.frames, "path", None)
    first = next(iter(video.frames), None) if path is None else None
    named = path or (first if isinstance(first, str) else EMBEDDED)
    return f"{named} ({len(video.frames)} frames)"


def images_of(record: Record) -> list[Any]:
    """The images of a record, or of both candidates; of videos that are folders the frames."""
    holders = record.candidates if isinstance(record, RelevanceRecord) else (record,)
    frames = [h.video.frames for h in holders if h.video and isinstance(h.video.frames, tuple)]
    return [i for h in holders for i in h.images] + [f for fs in frames for f in fs]
