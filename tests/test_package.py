"""What is shipped: the wheel holds the configs, and CI runs the README's command."""

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def test_wheel_holds_all_modules_and_the_configs(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    # built from a copy: setuptools leaves folders behind
    copy = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in tracked.stdout.split():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    identity = ["-c", "user.name=test", "-c", "user.email=test"]
    for git in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "copy"]):
        subprocess.run(["git", *git], cwd=copy, check=True)
    done = subprocess.run([*command, "-w", str(tmp_path)], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "r1reward_jax/configs/default.py",
        "r1reward_jax/configs/ablations/released.py",
        "r1reward_jax/report/page.css",
        "r1reward_jax/report/page.js",
        "r1reward_jax/report/templates/page.html",
    } <= names
    modules = {n for n in tracked.stdout.split() if n.startswith("r1reward_jax/")}
    assert modules <= names  # also of a folder that was forgotten to be made a package
    assert not any(n.startswith(("tests/", "configs/")) for n in names)
    commit = zipfile.ZipFile(wheel).read("r1reward_jax/COMMIT").decode()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=copy, capture_output=True, text=True)
    assert commit == head.stdout.strip()


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["pyright", "--pythonpath", sys.executable],
    ],
    ids=lambda c: " ".join(c[:2]),
)
def test_source_is_clean(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ci_runs_the_readmes_test_command():
    readme, ci = ((ROOT / n).read_text() for n in ("README.md", ".ci/run"))
    assert "<!-- tests -->" in readme and "README.md" in ci
    after = readme.split("<!-- tests -->")[1]
    command = after.split("```")[1].split("\n", 1)[1].strip()
    assert command.endswith("-m pytest -n 2") and "constraints.txt" in command


def requirements() -> list[Requirement]:
    """What setup.py requires; the metadata of an editable install may be older."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    call = next(n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.keywords[3:])
    (given,) = (k.value for k in call.keywords if k.arg == "install_requires")
    return [Requirement(text) for text in ast.literal_eval(given)]


def installed(required: Iterable[Requirement]) -> dict[str, str]:
    """The version of every distribution that these bring, by its name."""
    found, seen = {}, set()
    todo = [(r.name, extra) for r in required for extra in ("", *r.extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        distribution = metadata.distribution(name)
        found[canonicalize_name(name)] = distribution.version
        for text in distribution.requires or []:
            r = Requirement(text)
            if r.marker is None or r.marker.evaluate({"extra": extra}):
                todo += [(r.name, e) for e in ("", *r.extras)]
    return found


def pinned() -> dict[str, str]:
    """The versions of constraints.txt for this Python."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    given = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [r for r in given if r.marker is None or r.marker.evaluate()]
    assert len({canonicalize_name(r.name) for r in here}) == len(here)
    return {canonicalize_name(r.name): re.sub("^==", "", str(r.specifier)) for r in here}


def test_all_that_an_installation_brings_is_pinned():
    ours, theirs = pinned(), installed(requirements())
    assert len(theirs) > 60
    assert not theirs.keys() - ours.keys()
    wrong = {n: (v, ours[n]) for n, v in theirs.items() if v.split("+")[0] != ours[n]}
    assert not wrong


def test_every_requirement_is_bounded_on_both_sides():
    have = installed(requirements())
    for requirement in requirements():
        bounds = {s.operator for s in requirement.specifier}
        assert bounds == {">=", "<"}, requirement
        assert requirement.specifier.contains(have[canonicalize_name(requirement.name)])
