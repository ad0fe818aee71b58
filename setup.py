"""Packaging of r1reward-jax."""

import re
import subprocess
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

root = Path(__file__).parent


class BuildWithCommit(build_py):
    """Leave the commit in the wheel: run.json names it where there is no checkout."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        git = ["git", "-C", str(root)]
        try:
            commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
            changes = subprocess.run(
                [*git, "status", "--porcelain", "--untracked-files=no"],
                capture_output=True,
                text=True,
            )
        except FileNotFoundError:
            return
        if commit.returncode == 0 and (root / ".git").exists():
            text = commit.stdout.strip() + ("+" if changes.stdout.strip() else "")
            (Path(self.build_lib) / "r1reward_jax" / "COMMIT").write_text(text)


version = re.search(r'__version__ = "(.+)"', (root / "r1reward_jax/__init__.py").read_text())
assert version is not None

setup(
    cmdclass={"build_py": BuildWithCommit},
    name="r1reward-jax",
    version=version[1],
    description="Train and evaluate multimodal reasoning reward models in JAX",
    long_description=(root / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["r1reward_jax*"]),
        "r1reward_jax.configs",
        "r1reward_jax.configs.ablations",
    ],
    package_dir={"r1reward_jax.configs": "configs"},
    package_data={"r1reward_jax.report": ["page.css", "page.js", "templates/*.html"]},
    entry_points={"console_scripts": ["r1reward = r1reward_jax.cli.terminal:command_line"]},
    # above: versions that remove or rename what is used here would break it silently
    install_requires=[
        "etils[epath]>=1.13,<2",
        "flax>=0.12,<0.13",
        "grain>=0.2.10,<0.3",
        "httpx2>=2,<3",
        "huggingface-hub>=1.0,<3",
        "jax>=0.10,<0.13",
        "jaxtyping>=0.3,<0.4",
        "jinja2>=3.1,<4",
        "markdown-it-py>=3,<5",
        "markupsafe>=3,<4",
        "ml-collections>=1,<2",
        "numpy>=2,<3",
        "optax>=0.2,<0.3",
        "orbax-checkpoint>=0.12,<0.13",
        "packaging>=24,<27",
        "pillow>=11,<14",
        "pyarrow>=20,<27",
        "pyyaml>=6,<7",
        "rich>=14.1,<16",
        "safetensors>=0.5,<1",
        "scipy>=1.14,<2",
        "shtab>=1.7,<2",
        "tokenizers>=0.22,<0.24",
        "tensorboardX>=2.6,<3",
        "transformers>=5.17,<6",
    ],
    extras_require={
        "dev": ["pre-commit"],
        "tpu": ["jax[tpu]"],
        "cuda": ["jax[cuda13]"],
        "video": ["av"],
        "test": [
            "av",
            "beartype",
            "hypothesis",
            "ipykernel",
            "matplotlib",
            "nbclient",
            "pyright",
            "pytest",
            "pytest-xdist",
            "ruff",
            "playwright",
            "setuptools>=77",
            "tensorboard",
            'torch==2.13.0; python_version == "3.11"',
        ],
        "notebooks": ["jupyter", "matplotlib"],
    },
)
