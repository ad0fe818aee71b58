"""Benchmarks as their authors share them: counts, labels, images, and what is wrong with a file.

Texts are ours; ids, fields and paths have the patterns of the real rows.
"""

import base64
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from r1reward_jax.data.benchmarks import BENCHMARKS, files_of, read_benchmark
from r1reward_jax.data.video import Sampling
from r1reward_jax.evals.summary import summarize
from r1reward_jax.evals.table import table
from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.images import open_image
from r1reward_jax.types import InputError

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
FRAMES = Sampling(most=4)
VL_IDS = {
    "reasoning": [
        "mathverse_{}",
        "mmmu_pro_test_Energy_and_Power_{}",
        "MMMU_pro_validation_Art_{}",
    ],
    "hallucination": ["hallucination_pair-{}", "RLAIF-V-{}", "RLHF-V-{}", "rlhf-v-{}"],
    "general": ["LRVInstruction-{:012d}", "wildvision-battle-{}", "jailbreak-typo-HateSpeech-{}"],
}
MM_PAIRS = {
    "mcq": (42, 11),
    "long": (37, 10),
    "short": (34, 9),
    "safety": (32, 9),
    "video": (25, 7),
}
"""Pairs of each group, and the ids they belong to: 170 over 46."""


def picture(color="red"):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


def put(path, data=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write(path, rows):
    """As a json list, as jsonl or as parquet, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def released(id="RLHF-V-1", **changed):
    row = {"id": id, "prompt": "What is it?", "chosen": "A cat.", "rejected": "A dog."}
    row |= {"image": "vl_reward/img/1.jpg", "chosen_reason": "right", "rejected_reason": "wrong"}
    return row | changed


def hub(id="RLHF-V-1", ranking=(0, 1), **changed):
    row = {"id": id, "query": "What is it?", "response": ["A cat.", "A dog."]}
    row |= {"human_ranking": list(ranking), "image": "images/rlhf-v/1.jpg", "judge": "human"}
    return row | changed


def multimodal(id="nocaps_1", category="open_generation/correctness_task", **changed):
    row = {"ID": id, "Category": category, "Text": "Describe it.", "Image": "images/nocaps/1.jpg"}
    return row | {"Output1": "A cat.", "Output2": "A dog.", "Better": "Output2"} | changed


def groups(records):
    return dict(Counter(r.meta["group"] for r in records))


def vl_ids():
    """1,250 ids, 1,225 of them distinct."""
    distinct = {"general": 158, "hallucination": 749, "reasoning": 318}
    return [
        patterns[i % distinct[group] % len(patterns)].format(i % distinct[group])
        for group, patterns in VL_IDS.items()
        for i in range(BENCHMARKS["vl_rewardbench"].groups[group])
    ]


@pytest.mark.parametrize("make", [released, hub])
def test_vl_rewardbench_has_its_counts(tmp_path, make):
    put(tmp_path / "img/1.jpg")
    rows = [make(id, image="vl_reward/img/1.jpg") for id in vl_ids()]
    write(tmp_path / "data.jsonl", rows)
    write(tmp_path / "other.json", rows[:3])  # the usual name goes before others
    benchmark, records, notes = read_benchmark("vl_rewardbench", str(tmp_path), FRAMES)
    assert len(records) == 1250 and len({r.id for r in records}) == 1225
    assert groups(records) == {"general": 183, "hallucination": 749, "reasoning": 318}
    assert notes == [] and not benchmark.units and benchmark.convention == "left_out"
    assert all(r.preferred == 1 and "unit" not in r.meta for r in records)


def test_an_incomplete_file_is_told(tmp_path):
    put(tmp_path / "img/1.jpg")
    path = write(tmp_path / "data.jsonl", [released(id) for id in vl_ids()[3:]])
    _, _, notes = read_benchmark("vl_rewardbench", path, FRAMES)
    assert notes[0] == "reasoning 315, the complete file has 318"
    assert notes[1].startswith("1,247 rows") and "later copies" in notes[2]


def mm_rlhf_rows():
    rows = []
    for group, (pairs, ids) in MM_PAIRS.items():
        for i in range(pairs):
            name = f"{group}-{i % ids}.png_395{i % ids}"
            seen = {"video": "video/clip"} if group == "video" else {"image": f"{group}/1.png"}
            row = released(name, chosen=f"good {i}", rejected=f"bad {i}") | {"image": ""} | seen
            rows.append({k: v for k, v in row.items() if v})
    return rows


def test_mm_rlhf_has_its_counts_and_units(tmp_path):
    for group in list(MM_PAIRS)[:4]:
        put(tmp_path / group / "1.png")
    for i in reversed(range(40)):
        put(tmp_path / "video/clip" / f"{i:03d}.jpg")
    write(tmp_path / "mm_reward_bench.jsonl", mm_rlhf_rows())
    benchmark, records, notes = read_benchmark("mm_rlhf_rewardbench", str(tmp_path), FRAMES)
    assert groups(records) == {"mcq": 42, "long": 37, "short": 34, "safety": 32, "video": 25}
    assert len({r.meta["unit"] for r in records}) == 46 and benchmark.units
    assert all(r.meta["unit"] == r.id for r in records) and benchmark.convention == "wrong"
    frames = records[-1].video.frames
    assert len(frames) == 32 and list(frames) == sorted(frames) and records[-1].images == ()
    assert notes == [
        "videos are shown with 32 frames at 2 a second as in the benchmark, not with 4 at 2"
    ]


def test_a_group_that_no_folder_names_is_refused(tmp_path):
    put(tmp_path / "img/1.jpg")
    path = write(tmp_path / "mm.jsonl", [released()])
    with pytest.raises(InputError, match=r"mm.jsonl:1 .*mcq"):
        read_benchmark("mm_rlhf_rewardbench", path, FRAMES)


def test_multimodal_groups_and_subgroups(tmp_path):
    put(tmp_path / "data/images/nocaps/1.jpg")
    kinds = {
        ("nocaps_1", "open_generation/correctness_task"): ("correctness", None),
        ("visitbench_2", "open_generation/preference_task"): ("preference", None),
        ("mmmu-s_3", "knowledge"): ("knowledge", None),
        ("mathvista_4", "reasoning"): ("reasoning", "math"),
        ("EMMA-Coding_5", "reasoning"): ("reasoning", "coding"),
        ("PAIRS_6", "safety"): ("safety", "bias"),
        ("memes_7", "safety"): ("safety", "toxicity"),
        ("SEED-Bench_8", "vqa"): ("vqa", None),
    }
    rows = [multimodal(*kind, Better=f"Output{1 + i % 2}") for i, kind in enumerate(kinds)]
    rows[7]["Text"] = ""  # as before the authors' script has fetched it
    write(tmp_path / "data/all_data.json", rows)
    write(tmp_path / "data/all_data_release.json", rows)
    benchmark, records, notes = read_benchmark("multimodal_rewardbench", str(tmp_path), FRAMES)
    found = [(r.meta["group"], r.meta.get("subgroup")) for r in records]
    assert found == list(kinds.values()) and benchmark.convention == "coin"
    assert [r.preferred for r in records] == [1, 2] * 4  # stored order
    assert records[0].responses == ("A cat.", "A dog.") and records[0].meta["Category"]
    assert "1 rows have no question; was the file prepared to the end?" in notes
    assert "8 rows, the complete file has 5,211" in notes and "not distributed" in notes[-1]


def test_multimodal_has_its_counts(tmp_path):
    """A complete file has pairs of groups whose numbers are not known; all pairs are those of all
    groups."""
    put(tmp_path / "images/nocaps/1.jpg")
    benchmark = BENCHMARKS["multimodal_rewardbench"]
    counts = benchmark.groups | {"vqa": 1000, "safety": 1206}
    assert sum(counts.values()) == benchmark.rows == 5211
    rows = [multimodal(f"a_{i}", group) for group, count in counts.items() for i in range(count)]
    write(tmp_path / "all_data.json", rows)
    _, records, notes = read_benchmark("multimodal_rewardbench", str(tmp_path), FRAMES)
    assert groups(records) == counts and notes == []
    judged = [
        PairJudgement(i, r.id, r.meta["group"], str(i), (Judgement(2, 2), Judgement(1, 1)))
        for i, r in enumerate(records)
    ]
    s = summarize(
        judged, convention=benchmark.convention, expected=benchmark.groups, rows=benchmark.rows
    )
    assert s.overall.pairs == s.overall.expected == 5211 and s.notes == ()
    expected = {name: part.expected for name, part in s.groups.items()}
    assert expected == dict(benchmark.groups) | {"vqa": None, "safety": None}
    assert table(s)[0] == "evaluation: 5,211 pairs in both orders"
    s = summarize(judged[:40], convention="coin", expected=benchmark.groups, rows=benchmark.rows)
    assert table(s)[0] == "evaluation: 40 of 5,211 pairs in both orders"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (multimodal(Better="both"), "'both'.*'Output1' or 'Output2'"),
        (multimodal(category="style"), "'style' is not one of correctness"),
        (multimodal(Output1=" "), "first response"),
        (multimodal(Image=""), "no image and no video"),
        (multimodal(Image=7), "an image is int"),
    ],
)
def test_bad_multimodal_rows_are_named(tmp_path, row, said):
    put(tmp_path / "images/nocaps/1.jpg")
    path = write(tmp_path / "all_data.json", [multimodal(), row])
    with pytest.raises(InputError, match=rf"(?s)row 2 \(id nocaps_1\).*{said}"):
        read_benchmark("multimodal_rewardbench", path, FRAMES)


def test_a_ranking_gives_the_place_of_each_response(tmp_path):
    put(tmp_path / "images/rlhf-v/1.jpg")
    rows = [hub(), hub(ranking=(1, 0))]
    rows[1]["image_path"] = rows[1].pop("image")  # as in the authors' repository
    _, records, _ = read_benchmark("vl_rewardbench", write(tmp_path / "a.jsonl", rows), FRAMES)
    assert [r.preferred for r in records] == [1, 2] and records[0].meta["judge"] == "human"
    assert records[0].responses == records[1].responses == ("A cat.", "A dog.")
    assert records[0].images == records[1].images == (str(tmp_path / "images/rlhf-v/1.jpg"),)
    for bad in ((0, 0), (1, 2), (0,)):
        path = write(tmp_path / "bad.jsonl", [hub(ranking=bad)])
        with pytest.raises(InputError, match=r"bad.jsonl:1 .*0 is the better one"):
            read_benchmark("vl_rewardbench", path, FRAMES)


@pytest.mark.parametrize("make", [released, hub, multimodal])
def test_containers_give_the_same_records(tmp_path, make):
    put(tmp_path / "1.jpg", picture())
    field = "Image" if make is multimodal else "image"
    rows = [make(f"pairs-{i}", **{field: "1.jpg"}) for i in range(3)]
    found = [
        read_benchmark(write(tmp_path / f"rows{suffix}", rows), "", FRAMES)[1]
        for suffix in (".json", ".jsonl", ".parquet")
    ]
    assert found[0] == found[1] == found[2] and len(found[0]) == 3
    assert found[0][0].images == (str(tmp_path / "1.jpg"),)
    assert found[0][0].meta["group"] == ""


def test_images_inside_of_parquet_open(tmp_path):
    """As the hub stores them, in two parts; raw bytes and lists too."""
    struct = {"bytes": picture("blue"), "path": "1.jpg"}
    write(tmp_path / "data/test-00000-of-00002.parquet", [hub(image=struct), hub(image=struct)])
    write(tmp_path / "data/test-00001-of-00002.parquet", [hub("mmmu_1", image=struct)])
    _, records, _ = read_benchmark("vl_rewardbench", str(tmp_path), FRAMES)
    assert groups(records) == {"hallucination": 2, "reasoning": 1}
    assert open_image(records[2].images[0]).getpixel((0, 0)) == (0, 0, 255)
    path = write(tmp_path / "raw.parquet", [hub(image=[picture(), picture("blue")])])
    _, (record,), _ = read_benchmark(path, "", FRAMES)
    assert [open_image(i).getpixel((0, 0))[0] for i in record.images] == [255, 0]
    parts = [str(tmp_path / f"data/test-0000{i}-of-00002.parquet") for i in range(2)]
    assert files_of("vl_rewardbench", str(tmp_path / "data")) == parts
    (tmp_path / "data/test-00000-of-00002.parquet").unlink()
    with pytest.raises(InputError, match="1 of 2 parts"):
        read_benchmark("vl_rewardbench", str(tmp_path / "data"), FRAMES)


def test_rows_of_the_rl_set_and_our_own(tmp_path, world):
    from r1reward_jax.data.preferences import read_records, write_records

    path = f"{world[0]}/benchmark.jsonl"
    write_records(path, world[1]["heldout"][:4])
    benchmark, records, notes = read_benchmark(path, "", FRAMES)
    own = read_records(path)
    assert [r.meta.pop("group") for r in records] == [r.meta["skill"] for r in own]
    assert records == own and notes == [] and benchmark.name == "benchmark"
    row = json.loads(Path(path).read_text().splitlines()[0])
    table = write(tmp_path / "a.parquet", [row | {"image": {"bytes": picture(), "path": "x.png"}}])
    _, (record,), _ = read_benchmark(table, "", FRAMES)
    assert record.responses == own[0].responses and record.images == (picture(),)
    encoded = "data:image/png;base64," + base64.b64encode(picture()).decode()
    path = write(tmp_path / "b.jsonl", [released(image=encoded)])
    assert read_benchmark(path, "", FRAMES)[1][0].images == (picture(),)


def test_missing_images_are_told_at_once(tmp_path):
    put(tmp_path / "vl/img/0.jpg")
    rows = [released(f"RLHF-V-{i}", image=f"vl_reward/img/{i}.jpg") for i in range(9)]
    path = write(tmp_path / "data.jsonl", rows)
    with pytest.raises(InputError) as error:
        read_benchmark("vl_rewardbench", path, FRAMES)
    said = str(error.value)
    assert said.startswith("9 images") and "and 4 more" in said and str(tmp_path) in said
    assert "data.jsonl:5 (id RLHF-V-4): vl_reward/img/4.jpg" in said and "RLHF-V-5" not in said
    # one of nine is there: the others keep where they should be, and a note says it
    _, records, notes = read_benchmark(path, str(tmp_path / "vl"), FRAMES)
    assert records[0].images == (str(tmp_path / "vl/img/0.jpg"),)
    assert records[1].images == (str(tmp_path / "vl/vl_reward/img/1.jpg"),)
    assert any(n.startswith("8 images") and str(tmp_path / "vl") in n for n in notes)
    for i in range(9):
        put(tmp_path / f"vl/img/{i}.jpg")
    _, records, notes = read_benchmark(path, str(tmp_path / "vl"), FRAMES)
    assert not any("missing" in note for note in notes)
    assert records[8].images == (str(tmp_path / "vl/img/8.jpg"),)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", json.dumps([released()])[:-9], r"a.json:1: .*complete"),
        ("a.jsonl", json.dumps(released()) + '\n{"id": ', r"a.jsonl:2: .*one row on each line"),
        ("a.jsonl", "", "no rows"),
        ("a.jsonl", "[3]", "int, expected an object"),
        (
            "a.jsonl",
            '{"id": 1}',
            "unknown fields id; expected(?s:.)*hub: id, query(?s:.)*nearest is released, without p",
        ),
        (
            "a.json",
            json.dumps([released(), {"id": 1, "prompt": ""}]),
            r"row 2 \(id 1\): no field chosen, rej",
        ),
        ("a.json", json.dumps([released(), hub()]), r"row 2 \(id .*\): a row of the layout hub"),
        ("a.json", json.dumps([released(chosen="")]), "first response is empty"),
        ("a.json", json.dumps([released(rejected=None)]), "second is empty"),
        ("a.json", json.dumps([released(meta=3)]), "meta is int"),
        ("a.json", json.dumps([hub(human_ranking=None)]), "list and NoneType; expected two"),
        ("a.json", json.dumps([{"message": "[", "answer": ""}]), "message: Expecting value; exp"),
        ("a.parquet", "PAR1", "a.parquet: .*complete"),
        ("a.json", b"\xff\xfe".decode("latin-1"), "expected a list of rows"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, said):
    put(tmp_path / "img/1.jpg")
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_benchmark(str(tmp_path / name), "", FRAMES)


def test_the_file_that_is_meant(tmp_path):
    put(tmp_path / "img/1.jpg")
    with pytest.raises(InputError, match="no file of .json"):
        read_benchmark("vl_rewardbench", str(tmp_path), FRAMES)
    write(tmp_path / "test.jsonl", [released()])
    assert len(read_benchmark("vl_rewardbench", str(tmp_path), FRAMES)[1]) == 1
    write(tmp_path / "data/train.jsonl", [released()])
    with pytest.raises(InputError, match="several files .*train.jsonl, .*test.jsonl"):
        read_benchmark("vl_rewardbench", str(tmp_path), FRAMES)
    with pytest.raises(InputError, match="layout released; multimodal_rewardbench has multimodal"):
        read_benchmark("multimodal_rewardbench", str(tmp_path / "test.jsonl"), FRAMES)
    for data in ("", str(tmp_path / "gone")):
        with pytest.raises(InputError, match="not found; give --data"):
            read_benchmark("vl_rewardbench", data, FRAMES)
    with pytest.raises(InputError, match="neither a file nor one of vl_rewardbench"):
        read_benchmark("vl_reward", "", FRAMES)


def test_real_rows_have_their_groups(tmp_path):
    """Real rows where they are at hand; their ids and paths, a few of each kind, otherwise."""
    vl, mm = (SAMPLES / f"{n}_rewardbench_sample.jsonl" for n in ("vl", "mm_rlhf"))
    counts = {"general": 3, "hallucination": 3, "reasoning": 2}, {"mcq": 2, "short": 1, "video": 1}
    ids = ["LRVInstruction-000000007746", "politics-Gov_Decision-124", "svit-complex_reasoning-876"]
    ids += ["hallucination_pair-9638", "RLAIF-V-60094", "RLHF-V-1117"]
    ids += ["mathverse_374", "mmmu_pro_test_Energy_and_Power_54"]
    rows = (
        [released(id) for id in ids],
        [
            released("073712_6205145", image="mcq/073712.png"),
            released("073712_6205145", image="mcq/073712.png", chosen="B"),
            released(
                "cauldron/figureqa/images/figureqa_1.png_3952691", image="short/cauldron_1.png"
            ),
            released("-77dfCjTbSc_2_94421", image="", video="video/-77dfCjTbSc"),
        ],
    )
    if SAMPLES.exists():
        rows = tuple([json.loads(line) for line in f.read_text().splitlines()] for f in (vl, mm))
        counts = (
            {"general": 15, "hallucination": 18, "reasoning": 12},
            {"mcq": 9, "short": 7, "long": 7, "safety": 12, "video": 5},
        )
    for row in (*rows[0], *rows[1]):
        put(tmp_path / (row["video"] + "/1.png" if row.get("video") else row["image"]))
    for name, part, expected in zip(("vl_rewardbench", "mm_rlhf_rewardbench"), rows, counts):
        path = write(tmp_path / f"{name}.jsonl", part)
        _, records, _ = read_benchmark(name, path, FRAMES)
        assert groups(records) == expected and len(records) == len(part)
