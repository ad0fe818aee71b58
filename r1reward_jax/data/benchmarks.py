"""Read the public benchmarks of multimodal reward models, and files of one's own, as records.

    benchmark, records, notes = read_benchmark("vl_rewardbench", "downloads/vl_rewardbench", frames)
    benchmark, records, notes = read_benchmark("heldout.jsonl", "", frames)

Rows keep the order of the file, which identifies them: ids repeat in all three benchmarks. Each
record's meta has its `group`, and its `unit` where several pairs are right only together.

Counts, groups, the treatment of verdicts that cannot be parsed, and the frames of videos are those
of the benchmarks' own scripts; what differs stands in `Benchmark.differs`, and is told beside the
numbers.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from etils import epath

from r1reward_jax.data.files import Row, find_file
from r1reward_jax.data.layouts import has_media, read_table
from r1reward_jax.data.shown import like_media
from r1reward_jax.data.video import DEFAULT, Sampling
from r1reward_jax.images import is_file
from r1reward_jax.reading import scheme_of
from r1reward_jax.types import InputError, PreferenceRecord, Record


@dataclass(frozen=True)
class Benchmark:
    """What it takes to score judgements as the benchmark's authors do."""

    name: str
    groups: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Pairs of each group in the complete public file."""
    rows: int = 0
    """Pairs of all groups."""
    convention: Literal["left_out", "coin", "wrong", "none"] = "none"
    """What a tied or malformed verdict counts as officially (`evals.results`)."""
    units: bool = False
    """Whether Acc+ is defined: the share of units whose pairs are all right."""
    frames: int | None = None
    """Frames of a video in the authors' protocol, from the first to the last and repeated where
    there are fewer, at two a second; None leaves the sampling to the caller."""
    remark: str = ""
    """Why a correct file may have other counts."""
    differs: tuple[str, ...] = ()
    """What the authors do, and an evaluation here does not."""


BENCHMARKS = {
    "vl_rewardbench": Benchmark(
        "vl_rewardbench",
        groups=MappingProxyType({"general": 183, "hallucination": 749, "reasoning": 318}),
        rows=1250,
        convention="left_out",
        differs=(
            "VL-RewardBench's own script draws 10 votes, each in a random order, with temperature "
            "0.2, top_p 0.2 and 2,048 tokens, in its own prompt; here each order has its votes",
        ),
        remark="later copies of VL-RewardBench have 1,247 of the 1,250 rows",
    ),
    "multimodal_rewardbench": Benchmark(
        "multimodal_rewardbench",
        # the counts of the paper; vqa and safety have 2,206 together
        groups=MappingProxyType(
            {"correctness": 623, "preference": 654, "knowledge": 630, "reasoning": 1098}
        ),
        rows=5211,
        convention="coin",
        differs=(
            "Multimodal RewardBench's own script asks in the stored order only, and draws a coin "
            "for a verdict that cannot be read, which here counts its mean",
        ),
        remark="5,211 is the paper's count; about 500 rows of safety are not distributed",
    ),
    "mm_rlhf_rewardbench": Benchmark(
        "mm_rlhf_rewardbench",
        groups=MappingProxyType({"mcq": 42, "long": 37, "short": 34, "safety": 32, "video": 25}),
        rows=170,
        convention="wrong",
        units=True,
        frames=32,
        differs=(
            "R1-Reward's release asks in one order, the preferred response first, and takes frames "
            "in the order that the disk lists them; here both orders are asked, frames by name",
        ),
    ),
}


@dataclass(frozen=True)
class _Reading:
    """Where a public benchmark's pairs are, and how they are grouped."""

    files: tuple[str, ...]
    """Names that the file has in the release of its authors, or of R1-Reward's."""
    layouts: tuple[str, ...]
    meta: Callable[[Row], dict[str, Any]]
    """From a row to its group, and to its unit and subgroup if it has them."""


def _vl_rewardbench(row: Row) -> dict[str, Any]:
    name = str(row.fields["id"]).lower()
    if name.startswith(("mmmu", "mathverse")):
        return {"group": "reasoning"}
    made = name.startswith(("hallucination", "rlhf", "rlaif"))
    return {"group": "hallucination" if made else "general"}


def _multimodal_rewardbench(row: Row) -> dict[str, Any]:
    category, name = str(row.fields["Category"]).lower(), str(row.fields["ID"]).lower()
    # the file says open_generation/correctness_task and the like
    groups = ("correctness", "preference", "knowledge", "reasoning", "safety", "vqa")
    found = [group for group in groups if group in category]
    if len(found) != 1:
        raise InputError(
            f"{row.name}: Category {row.fields['Category']!r} is not one of {', '.join(groups)}"
        )
    if found == ["reasoning"]:
        return {"group": found[0], "subgroup": "math" if name.startswith("math") else "coding"}
    if found == ["safety"]:
        return {"group": found[0], "subgroup": "bias" if name.startswith("pairs") else "toxicity"}
    return {"group": found[0]}


def _mm_rlhf_rewardbench(row: Row) -> dict[str, Any]:
    named = [value for name, value in row.fields.items() if like_media(name) and value]
    given = named[0] if named else ""
    given = given[0] if isinstance(given, list) else given
    path = given.get("path") if isinstance(given, dict) else given
    groups = BENCHMARKS["mm_rlhf_rewardbench"].groups
    parts = path.split("/") if isinstance(path, str) else []
    group = next((part for part in parts if part in groups), None)
    if group is None:
        raise InputError(
            f"{row.name}: no folder of {str(path)[:80]!r} is a group; expected a path such as "
            f"mcq/1.png, with one of {', '.join(groups)}"
        )
    return {"group": group, "unit": str(row.fields["id"])}


_READINGS = {
    "vl_rewardbench": _Reading(("data.jsonl",), ("released", "hub"), _vl_rewardbench),
    "multimodal_rewardbench": _Reading(
        ("all_data.json",), ("multimodal",), _multimodal_rewardbench
    ),
    "mm_rlhf_rewardbench": _Reading(
        ("mm_reward_bench.jsonl",), ("released",), _mm_rlhf_rewardbench
    ),
}


def read_benchmark(
    name_or_path: str, data: str, frames: Sampling, *, outside: bool = True
) -> tuple[Benchmark, list[Record], list[str]]:
    """Return a benchmark's records; their images are not decoded yet.

    Args:
      name_or_path: a key of BENCHMARKS, or a file of one's own in any layout of `data/layouts.py`.
      data: the folder with the benchmark's files, or the file in it; for a file of one's own the
        folder that its paths start in, empty for the file's.
      frames: how many frames of a video are read; a benchmark that fixes their number overrides it.
      outside: whether images may lie outside of the data folder.

    Returns:
      how to score the benchmark, the records in the order of the file, and notes for the user.

    Raises:
      InputError: an unknown name, no file or several, a row that is not as its layout says, or no
        record that names files has all of them; where some have, a note says what is missing.
    """
    if name_or_path in BENCHMARKS:
        return _read_public(BENCHMARKS[name_or_path], data, frames, outside)
    table = read_table(files_of(name_or_path, data))
    records = table.records(frames, folder=data, outside=outside, require_files="some")
    groups = [str(r.meta.get("group") or r.meta.get("skill") or "") for r in records]
    records = [replace(r, meta=r.meta | {"group": g}) for r, g in zip(records, groups)]
    return Benchmark(epath.Path(name_or_path).stem), records, table.notes


def sampling_of(name_or_path: str, frames: Sampling) -> Sampling:
    """Return how videos of a benchmark are sampled: as its authors do, else as the caller says."""
    fixed = BENCHMARKS[name_or_path].frames if name_or_path in BENCHMARKS else None
    return Sampling(DEFAULT.fps, fixed, fixed) if fixed else frames


def files_of(name_or_path: str, data: str) -> list[str]:
    """Return the file that `read_benchmark` reads, all its parts in order.

    Raises:
      InputError: an unknown name, no file or several.
    """
    if name_or_path in BENCHMARKS:
        if not data or not is_file(data):
            raise InputError(
                f"{name_or_path}: {data or 'no data'} not found; give --data, the folder it is in"
            )
        return find_file(data, _READINGS[name_or_path].files)
    if scheme_of(name_or_path) is None and not is_file(name_or_path):
        raise InputError(
            f"benchmark {name_or_path}: neither a file nor one of {', '.join(BENCHMARKS)}"
        )
    return find_file(name_or_path)


def _read_public(
    benchmark: Benchmark, data: str, frames: Sampling, outside: bool
) -> tuple[Benchmark, list[Record], list[str]]:
    reading, name = _READINGS[benchmark.name], benchmark.name
    table = read_table(files_of(name, data))
    if table.layout not in reading.layouts:
        raise InputError(
            f"{table.paths[0]}: rows of the layout {table.layout}; {name} has "
            f"{' or '.join(reading.layouts)}"
        )
    metas = [reading.meta(row) for row in table.rows]
    # the authors' sampling goes before the caller's: their scores belong to it
    sampling = sampling_of(benchmark.name, frames)
    records = table.records(sampling, folder=data, outside=outside, require_files="some")
    blind = [row.name for row, r in zip(table.rows, records) if not has_media(r)]
    if blind:
        raise InputError(f"{blind[0]}: no image and no video; {len(blind)} rows are like that")
    records = [replace(r, meta=r.meta | meta) for r, meta in zip(records, metas)]
    return benchmark, records, [*_notes(benchmark, records, frames), *table.notes]


def _notes(benchmark: Benchmark, records: Sequence[Record], frames: Sampling) -> list[str]:
    counts = Counter(r.meta["group"] for r in records)
    notes = [
        f"{group} {counts[group]:,}, the complete file has {complete:,}"
        for group, complete in benchmark.groups.items()
        if counts[group] != complete
    ]
    if len(records) != benchmark.rows:
        notes.append(f"{len(records):,} rows, the complete file has {benchmark.rows:,}")
    if empty := sum(not r.question.strip() for r in records if isinstance(r, PreferenceRecord)):
        notes.append(f"{empty:,} rows have no question; was the file prepared to the end?")
    if benchmark.remark and len(records) != benchmark.rows:
        notes.append(benchmark.remark)
    videos = any(getattr(r, "video", None) for r in records)
    fixed = sampling_of(benchmark.name, frames)
    if videos and (fixed.most, fixed.fps) != (frames.most, frames.fps):
        notes.append(
            f"videos are shown with {fixed.most} frames at {fixed.fps:g} a second as in the "
            f"benchmark, not with {frames.most} at {frames.fps:g}"
        )
    return notes
