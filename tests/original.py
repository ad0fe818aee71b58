"""Greedy decoding of an exported folder with the original (torch), one prompt at a time or batched.

As a script, the share of a run's greedy verdicts that it reproduces:

    python -m tests.original RUN
"""

import json
import sys
from pathlib import Path

import numpy as np

from r1reward_jax.models.qwen2_5_vl import Buckets, Processor
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt, parse_verdict
from r1reward_jax.types import PreferenceRecord


def greedy_verdicts(folder: str, rows: list[dict], *, max_new_tokens: int, batch: int = 64):
    """The texts that `transformers` writes greedily for rows of judgements.jsonl."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = Processor(folder, Buckets((4096,), (8,), (4096,)))
    texts = []
    for start in range(0, len(rows), batch):
        part = [
            PreferenceRecord(
                r["id"], r["question"], tuple(r["responses"]), r["preferred"], tuple(r["images"])
            )
            for r in rows[start : start + batch]
        ]
        prompts = [evaluator_prompt(r, TEMPLATES["brief"]) for r in part]
        ids = [processor.encode(p).token_ids for p in prompts]
        width = max(map(len, ids))
        tokens = torch.full((len(ids), width), processor.pad_id)
        mask = torch.zeros_like(tokens)
        for i, row in enumerate(ids):  # padded on the left, as generation wants it
            tokens[i, width - len(row) :] = torch.tensor(row)
            mask[i, width - len(row) :] = 1
        from r1reward_jax.models.qwen2_5_vl.processor import open_image

        pixels = processor._images([open_image(image) for r in part for image in r.images])
        with torch.no_grad():
            out = model.generate(
                input_ids=tokens,
                attention_mask=mask,
                pixel_values=torch.tensor(np.asarray(pixels["pixel_values"])),
                image_grid_thw=torch.tensor(np.asarray(pixels["image_grid_thw"])),
                mm_token_type_ids=(tokens == processor.config.image_token_id).int(),
                max_new_tokens=max_new_tokens,
                do_sample=False,
            )
        texts += [processor.decode(_until_end(row[width:].tolist(), processor)) for row in out]
    return texts


def _until_end(ids: list[int], processor: Processor) -> list[int]:
    """Tokens up to and with the end token; `generate` pads behind it."""
    ends = [i for i, token in enumerate(ids) if token in processor.eos_ids]
    return ids[: ends[0] + 1] if ends else ids


if __name__ == "__main__":
    run = Path(sys.argv[1])
    rows = [json.loads(x) for x in (run / "judgements.jsonl").read_text().splitlines()]
    length = json.loads((run / "run.json").read_text())["config"]["rollout"]["max_new_tokens"]
    theirs = greedy_verdicts(str(run / "exported"), rows, max_new_tokens=length)
    same = np.mean([parse_verdict(t) == r["verdicts"][0] for t, r in zip(theirs, rows)])
    print(f"{same:.4f} of {len(rows)} greedy verdicts are reproduced by transformers")
