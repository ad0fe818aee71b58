"""Our train step against the same step written plainly with torch and `transformers`.

The plain step comes in two forms: logits of every position, as most trainers have it, and
`logits_to_keep`, which leaves out those of the prompt. Ours takes the batch in micro-batches, as a
run on a large model does. Loss: StableReinforce, token mean; AdamW.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from r1reward_jax.bench.model import write_model
from r1reward_jax.bench.timing import Row, compare, peak_bytes, refuse_sizes
from r1reward_jax.console import say
from r1reward_jax.models.qwen2_5_vl import RULES, load, original
from r1reward_jax.sharding import make_mesh
from r1reward_jax.train.objectives import StepConfig, policy_objective
from r1reward_jax.train.optimizer import init_state, make_optimizer
from r1reward_jax.train.step import jit_step
from r1reward_jax.types import InputError, PromptBatch, TrainBatch

BETAS, CLIP_NORM = (0.9, 0.95), 1.0
LOSS = {"clip_eps": 0.2, "min_ratio": 1e-3, "max_ratio": 1e3}
LR, CHUNK = 1e-6, 512
FORMS = ("full logits", "logits_to_keep")


@dataclass(frozen=True)
class Settings:
    """What is measured, in float32."""

    layers: int
    width: int
    vocab: int
    batch: int
    prompt: int
    """Tokens of each prompt."""
    completion: int
    """Tokens of each completion."""
    micro: int
    """Rows of our micro-batches."""
    rounds: int

    def __post_init__(self) -> None:
        refuse_sizes("bench train", self)


def run(s: Settings) -> tuple[list[Row], dict[str, Any]]:
    """Times of both forms, and the peak memory of each contestant in a process of its own.

    Raises:
      InputError: no torch, sizes that make no sense, or losses that differ.
    """
    if not original.available():
        raise InputError("bench train compares with the original: pip install torch first")
    if jax.default_backend() != "cpu":
        raise InputError("bench train compares on the CPU: set JAX_PLATFORMS=cpu")
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder, layers=s.layers, width=s.width, vocab=s.vocab, dtype="float32")
        rows = []
        for form in FORMS:
            (ours, program_bytes), plain = our_step(folder, s), plain_step(folder, s, form)
            gap = abs(ours() - plain())
            if not gap <= 1e-4:
                raise InputError(f"bench train: the losses differ by {gap:.3g}")
            name = f"train step, {form}"
            rows.append(compare(name, ours, plain, rounds=s.rounds, peak_bytes=program_bytes))
            del ours, plain
        peaks = {who: peak_of(folder, s, who) for who in ("ours", *FORMS)}
        return rows, {"peak_memory_bytes": peaks}


def arrays(s: Settings) -> dict[str, np.ndarray]:
    """Tokens, old log-probs and advantages; the same for everybody."""
    rng = np.random.default_rng(0)
    shape = (s.batch, s.completion)
    return {
        "tokens": rng.integers(300, s.vocab, (s.batch, s.prompt + s.completion), np.int32),
        "old_logp": rng.normal(-math.log(s.vocab), 0.5, shape).astype(np.float32),
        "advantages": rng.normal(size=shape).astype(np.float32),
    }


def our_step(folder: str, s: Settings) -> tuple[Callable[[], float], int | None]:
    """The jitted step of the RL loop, and the bytes of its program."""
    model, params = load(folder)
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    optimizer = make_optimizer(LR, b1=BETAS[0], b2=BETAS[1], weight_decay=0.0, clip_norm=CLIP_NORM)
    state = [init_state(params, optimizer, RULES, mesh)]
    objective = policy_objective("stable_reinforce", "token", importance_cap=0.0, **LOSS)
    config = StepConfig(
        chunk=CHUNK,
        remat=False,
        compute_dtype=jnp.dtype("float32"),
        micro_tokens=s.micro * (s.prompt + s.completion),
    )
    step = jit_step(model, optimizer, objective, config, state[0])
    batch = jax.tree.map(jnp.asarray, _train_batch(s))
    compiled = step.lower(state[0], batch).compile()

    def call() -> float:
        state[0], metrics = compiled(state[0], batch)
        return float(metrics["loss/total"])

    return call, peak_bytes(compiled)


def _train_batch(s: Settings) -> TrainBatch:
    data, rows = arrays(s), s.batch
    length = s.prompt + s.completion
    positions = np.broadcast_to(np.arange(length, dtype=np.int32)[None, :, None], (rows, length, 3))
    zeros = np.zeros(rows, np.int32)
    inputs = PromptBatch(
        data["tokens"],
        zeros + length,
        positions,
        zeros,
        np.full((rows, length), -1, np.int32),
        None,
    )
    return TrainBatch(
        inputs,
        zeros + s.prompt,
        data["tokens"][:, s.prompt :],
        np.ones((rows, s.completion), bool),
        data["old_logp"],
        data["old_logp"],
        np.zeros(rows, bool),
        data["advantages"],
    )


def plain_step(folder: str, s: Settings, form: str) -> Callable[[], float]:
    """The step as it is commonly written: forward, log-softmax, gather, loss, backward, AdamW."""
    import torch

    model = original.load(folder, "float32").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, weight_decay=0.0)
    data = {k: torch.tensor(v) for k, v in arrays(s).items()}
    ids = data["tokens"].long()
    low, high = math.log(LOSS["min_ratio"]), math.log(LOSS["max_ratio"])
    near = 1 - LOSS["clip_eps"], 1 + LOSS["clip_eps"]
    keep = {"logits_to_keep": s.completion + 1} if form == FORMS[1] else {}

    def call() -> float:
        optimizer.zero_grad(set_to_none=True)
        logits = model(input_ids=ids, use_cache=False, **keep).logits[:, :-1]
        targets = ids[:, -logits.shape[1] :]
        logp = torch.log_softmax(logits, dim=-1).gather(-1, targets[..., None])[..., 0]
        change = logp[:, -s.completion :] - data["old_logp"]
        ratio = change.clamp(low, high).exp()
        a = data["advantages"]
        loss = -torch.minimum(ratio * a, ratio.clamp(*near) * a).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        return loss.item()

    return call


# --------------------------------------------------------------------- memory


def peak_of(folder: str, s: Settings, who: str) -> int:
    """Bytes that three steps take at their peak beyond the imports, in a process of its own; ours
    compiles its program there."""
    code = (
        "import jax, sys; jax.config.update('jax_enable_compilation_cache', False); "
        "from r1reward_jax.bench.train import report_peak; report_peak(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, folder, json.dumps(asdict(s)), who]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bench train, memory of {who}: {done.stderr[-2000:]}")
    peak = int(done.stdout.split()[-1])
    say(f"{'peak memory, ' + who:<28} {peak / 2**20:>9.0f} MiB")
    return peak


def report_peak(folder: str, settings: str, who: str) -> None:
    """Print the peak of this process minus what its imports took."""
    s = replace(Settings(**json.loads(settings)), rounds=1)
    if who != "ours":
        import torch  # noqa: F401
        from transformers import Qwen2_5_VLForConditionalGeneration  # noqa: F401
    before = _memory("VmRSS")
    step = our_step(folder, s)[0] if who == "ours" else plain_step(folder, s, who)
    for _ in range(3):
        step()
    print(_memory("VmHWM") - before)


def _memory(name: str) -> int:
    """Bytes of this process by Linux's own account; getrusage would count a large parent's."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines[name].split()[0]) * 1024
