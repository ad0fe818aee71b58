"""Mistakes that are easy to make in this algorithm, and the test that must notice each of them.

    python -m tests.mutations

copies the sources, makes one mistake at a time and runs its test; it fails unless all of them fail.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("r1reward_jax", "tests", "configs", "conftest.py", "pyproject.toml")
ENV = dict(os.environ) | {"PYTHONDONTWRITEBYTECODE": "1"}
BLIND = "._replace(inputs={}.inputs._replace(vision=None))"


@dataclass(frozen=True)
class Mutation:
    """One mistake."""

    name: str
    file: str
    """Below r1reward_jax/."""
    right: str
    """Stands in the file exactly once."""
    wrong: str
    test: str
    """Below tests/."""


UPDATES = "train/test_updates.py::"
MUTATIONS = (
    Mutation(
        "no clip inside pre_clip",
        "rl/losses.py",
        "jnp.exp(jnp.clip(log_ratio, jnp.log(min_ratio), jnp.log(max_ratio)))",
        "jnp.exp(log_ratio)",
        "rl/test_losses.py::test_pre_clip_bounds_the_four_tokens",
    ),
    Mutation(
        "the filter looks at the raw scale",
        "rl/advantages.py",
        "filter_outliers(z, sigmas=sigmas),",
        "jnp.where(jnp.abs(x) > sigmas, 0.0, z),",
        f"{UPDATES}test_advantages_are_filtered_on_the_standardised_scale",
    ),
    Mutation(
        "the rollout does not see the images",
        "rollout/engine.py",
        "collate([self.encoded[p] for p in places], rows=size)",
        "collate([self.encoded[p] for p in places], rows=size)._replace(vision=None)",
        f"{UPDATES}test_the_rollout_sees_the_images",
    ),
    Mutation(
        "old log-probs do not see the images",
        "train/updates.py",
        "compiled.logprobs(params, p)",
        f"compiled.logprobs(params, p{BLIND.format('p')})",
        f"{UPDATES}test_the_scoring_passes_see_the_images[old]",
    ),
    Mutation(
        "the reference does not see the images",
        "train/updates.py",
        "compiled.logprobs(reference, p)",
        f"compiled.logprobs(reference, p{BLIND.format('p')})",
        f"{UPDATES}test_the_scoring_passes_see_the_images[reference]",
    ),
    Mutation(
        "the updates do not see the images",
        "train/updates.py",
        "compiled.step(state, parts[k])",
        f"compiled.step(state, parts[k]{BLIND.format('parts[k]')})",
        f"{UPDATES}test_the_updates_see_the_images",
    ),
    Mutation(
        "a parse failure scores 1",
        "rl/rewards.py",
        "float(parse_verdict(text) == preferred)",
        "float(parse_verdict(text) in (preferred, None))",
        "rl/test_rewards.py::test_format_and_verdict",
    ),
    Mutation(
        "sample instead of population deviation",
        "rl/advantages.py",
        "std = jnp.sqrt(masked_mean((x - mean) ** 2, mask))",
        "std = jnp.sqrt(masked_mean((x - mean) ** 2, mask, denominator=jnp.sum(mask) - 1.0))",
        "rl/test_advantages.py::test_standardize_uses_the_population_deviation",
    ),
    Mutation(
        "the KL is added to the reward",
        "rl/advantages.py",
        "earned - kl_coef * kl if",
        "earned + kl_coef * kl if",
        f"{UPDATES}test_kl_is_taken_off_the_reward",
    ),
    Mutation(
        "the KL is that of the reference from the policy",
        "rl/advantages.py",
        "return logp - ref_logp\n",
        "return ref_logp - logp\n",
        f"{UPDATES}test_kl_is_taken_off_the_reward",
    ),
    Mutation(
        "old log-probs are taken after the update",
        "train/updates.py",
        "compiled.step(state, parts[k])",
        "compiled.step(\n"
        "            state,\n"
        "            parts[k]._replace(old_logp=compiled.logprobs(state.params, parts[k])),\n"
        "        )",
        f"{UPDATES}test_old_log_probs_are_those_before_the_updates",
    ),
    Mutation(
        "every update takes its own log-probs as old ones",
        "train/updates.py",
        "if k or asked",
        "if False",
        f"{UPDATES}test_old_log_probs_are_those_before_the_updates",
    ),
)


def applied(mutation: Mutation, root: Path) -> str:
    """The mutated text of the file. Raises ValueError if the right one is not there once."""
    text = (root / "r1reward_jax" / mutation.file).read_text()
    if text.count(mutation.right) != 1:
        raise ValueError(f"{mutation.name}: {mutation.right!r} is not in {mutation.file} once")
    return text.replace(mutation.right, mutation.wrong)


def passes(test: str, root: Path) -> bool:
    """Whether a test passes in a copy of the sources. Raises RuntimeError if it does not run."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        f"tests/{test}",
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=ENV)
    if done.returncode not in (0, 1):  # not found, not collected, interrupted
        raise RuntimeError(f"{test}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main() -> int:
    """Run all; returns the number of mistakes that nothing noticed."""
    with tempfile.TemporaryDirectory() as folder:
        root, survivors = Path(folder), 0
        for name in SOURCES:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
        for test in dict.fromkeys(m.test for m in MUTATIONS):
            if not passes(test, root):
                raise RuntimeError(f"{test} fails on the right sources")
        for mutation in MUTATIONS:
            file = root / "r1reward_jax" / mutation.file
            right = file.read_text()
            file.write_text(applied(mutation, root))
            survived = passes(mutation.test, root)
            file.write_text(right)
            survivors += survived
            word = "SURVIVED" if survived else "killed"
            print(f"{word:>8}  {mutation.name:<50} {mutation.test}", flush=True)
    print(f"{len(MUTATIONS) - survivors} of {len(MUTATIONS)} killed")
    return survivors


if __name__ == "__main__":
    sys.exit(main())
