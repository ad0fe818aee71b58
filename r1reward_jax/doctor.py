"""What this machine has and lacks: versions, devices, memory, places to write, optional parts.

Nothing is downloaded, and nothing but the standard library is imported before its check: where JAX
itself is broken, `python -m r1reward_jax.doctor` still says so.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from r1reward_jax.files import cache_folder

OWN = "r1reward-jax"
OPTIONAL = {
    "torch": (
        "torch",
        "the original, for `parity` and `bench`",
        f"pip install '{OWN}[test]'",
    ),
    "av": ("av", "video files", f"pip install '{OWN}[video]'"),
    "wandb": ("wandb", "curves in Weights & Biases", "pip install wandb"),
    "tensorboard": ("tensorboard", "view RUN/tensorboard", "pip install tensorboard"),
    "matplotlib": ("matplotlib", "plots in notebooks", f"pip install '{OWN}[notebooks]'"),
    "jupyter": ("jupyter_core", "notebooks", f"pip install '{OWN}[notebooks]'"),
}
"""Name to distribution, what it is for, how to get it."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    status: Literal["ok", "missing", "FAILED"]
    name: str
    found: str
    advice: str = ""
    """What to do; empty if nothing."""
    required: bool = True
    """Whether anything works without it."""

    def __str__(self) -> str:
        return f"{self.status:<8} {self.name:<20} {self.found}" + (
            f"; {self.advice}" if self.advice else ""
        )


def examine(workdir: str = ".") -> list[Finding]:
    """All findings; a check that raises is a FAILED one.

    Args:
      workdir: where runs are to be written, a folder that need not be there yet.
    """
    checks: list[tuple[str, bool, Callable[[], Iterator[Finding]]]] = [
        ("python", True, _python),
        ("packages", True, _packages),
        ("devices", True, _devices),
        ("NVIDIA GPU", False, _cuda),
        ("cores", False, _cores),
        ("memory", False, _memory),
        ("workdir", True, lambda: _writable("workdir", workdir)),
        ("compilation cache", True, _cache),
        ("temporary files", True, lambda: _writable("temporary files", tempfile.gettempdir())),
        ("optional parts", False, _optional),
        ("git", False, _git),
        ("chromium", False, _browser),
    ]
    return [finding for check in checks for finding in _guarded(*check)]


def works(findings: list[Finding]) -> bool:
    """Say whether all that is required works."""
    return not any(f.required and f.status != "ok" for f in findings)


def report(findings: list[Finding], *, as_json: bool) -> str:
    """Return the findings as lines for a reader, or as one JSON object."""
    if as_json:
        return json.dumps({"ok": works(findings), "findings": [asdict(f) for f in findings]})
    failed = [f.name for f in findings if f.status == "FAILED"]
    end = "all that is required works" if works(findings) else f"FAILED: {', '.join(failed)}"
    return "\n".join([*map(str, findings), "", end])


def _guarded(
    name: str, required: bool, check: Callable[[], Iterator[Finding]]
) -> Iterator[Finding]:
    """The findings of a check, up to where it raises."""
    try:
        yield from check()
    except Exception as error:  # whatever is broken is reported here
        found = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding("FAILED", name, found, "the check itself stopped here", required)


# ------------------------------------------------------------------ versions


def _python() -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    found, wanted = (
        platform.python_version(),
        metadata.metadata(OWN).json.get("requires_python", ""),
    )
    fits = SpecifierSet(str(wanted)).contains(found, prereleases=True)
    yield _version("python", found, str(wanted), fits, f"install Python {wanted}")


def _packages() -> Iterator[Finding]:
    """Yield what the package requires, without its extras, and the library below JAX."""
    from packaging.requirements import Requirement

    yield Finding("ok", OWN, metadata.version(OWN))
    wanted = [Requirement(text) for text in metadata.requires(OWN) or []]
    wanted = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    for r in [*wanted, Requirement("jaxlib")]:
        found = _installed(r.name)
        fits = found is not None and r.specifier.contains(found, prereleases=True)
        # the lower bound first; packaging keeps no order
        bounds = ",".join(sorted(map(str, r.specifier), reverse=True))
        yield _version(r.name, found, bounds, fits, f"pip install -U '{r.name}{bounds}'")


def _version(name: str, found: str | None, wanted: str, fits: bool, advice: str) -> Finding:
    if fits:
        return Finding("ok", name, found or "")
    needed = f", required {wanted}" if wanted else ""
    return Finding("FAILED", name, f"{found or 'not installed'}{needed}", advice)


def _installed(distribution: str) -> str | None:
    """Its version; None if it is not there."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


# ------------------------------------------------------------------- machine


def _devices() -> Iterator[Finding]:
    """Each device computes something."""
    import jax

    for device in jax.local_devices():
        name = f"device {device.id}"
        yield from _guarded(name, True, lambda d=device, n=name: _device(d, n))


def _device(device: Any, name: str) -> Iterator[Finding]:
    import jax
    import numpy as np

    ones = jax.device_put(np.ones((64, 64), np.float32), device)
    if float((ones @ ones).sum()) != 64.0**3:
        yield Finding(
            "FAILED", name, f"{device.device_kind} computes wrong sums", "check the driver"
        )
        return
    stats = device.memory_stats() or {}  # CPUs tell nothing
    memory = ""
    if "bytes_limit" in stats:
        memory = f", {_size(stats['bytes_limit'])}, {_size(stats.get('bytes_in_use', 0))} in use"
    yield Finding("ok", name, f"{device.device_kind}{memory}, computes")


def _cuda() -> Iterator[Finding]:
    """Only where there is an NVIDIA GPU."""
    if not (Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi")):
        return
    import jax

    name, platforms = "JAX for NVIDIA GPUs", {d.platform for d in jax.local_devices()}
    if platforms == {"cpu"}:
        pinned = os.environ.get("JAX_PLATFORMS")
        why = f" (JAX_PLATFORMS={pinned})" if pinned else ""
        found = f"there is an NVIDIA GPU, but JAX sees only CPUs{why}"
        yield Finding("missing", name, found, f"pip install '{OWN}[cuda]'", False)
    else:
        yield Finding("ok", name, ", ".join(sorted(platforms)), required=False)


def _cores() -> Iterator[Finding]:
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count()
    yield Finding("ok", "cores", str(count), required=False)


def _memory() -> Iterator[Finding]:
    """Return the memory that processes may still take: of the machine, or of the container if that
    is less."""
    info = Path("/proc/meminfo")
    if not info.exists():
        yield Finding("ok", "memory", "not known on this system", required=False)
        return
    lines = info.read_text().splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
    total, free = 1024 * kib["MemTotal"], 1024 * kib["MemAvailable"]
    limit, used = (Path(f"/sys/fs/cgroup/memory.{n}") for n in ("max", "current"))
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        total = min(total, int(most))
        free = min(free, int(most) - int(used.read_text()))
    yield Finding("ok", "memory", f"{_size(free)} available of {_size(total)}", required=False)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


# -------------------------------------------------------------------- places


def _cache() -> Iterator[Finding]:
    """Report where compiled programs are kept between runs."""
    yield from _writable("compilation cache", cache_folder())


def _writable(name: str, folder: str) -> Iterator[Finding]:
    """Write, and remove, a file in the folder, or where the folder would be made."""
    if "://" in folder:
        yield _remote(name, folder)
        return
    place = Path(folder).expanduser().absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"r1reward")
            file.flush()
    except OSError as error:
        yield Finding("FAILED", name, f"{folder}: {error.strerror}", "give another folder")
        return
    yield Finding("ok", name, f"{folder}, {_size(shutil.disk_usage(place).free)} free")


def _remote(name: str, folder: str) -> Finding:
    from etils import epath

    probe = epath.Path(folder) / f".r1reward-doctor-{os.getpid()}"
    probe.parent.mkdir(parents=True, exist_ok=True)
    probe.write_text("r1reward")
    probe.unlink()
    return Finding("ok", name, folder)


# ------------------------------------------------------------ optional parts


def _optional() -> Iterator[Finding]:
    for name, (distribution, purpose, advice) in OPTIONAL.items():
        found = _installed(distribution)
        yield _part(name, found, purpose, advice)


def _git() -> Iterator[Finding]:
    found = None
    if shutil.which("git"):
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10)
        found = done.stdout.strip().removeprefix("git version ")
    yield _part("git", found, "the commit in run.json", "install git")


def _browser() -> Iterator[Finding]:
    """On the path, or one that playwright has put into its cache."""
    cache = (
        os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path("~/.cache/ms-playwright").expanduser()
    )
    places = [shutil.which(name) for name in BROWSERS]
    places += [str(p) for p in sorted(Path(cache).glob("chromium*"))]
    found = next((place for place in places if place), None)
    advice = "pip install playwright && playwright install chromium"
    yield _part("chromium", found, "the browser test", advice)


def _part(name: str, found: str | None, purpose: str, advice: str) -> Finding:
    if found:
        return Finding("ok", name, f"{found} ({purpose})", required=False)
    return Finding("missing", name, f"for {purpose}", advice, required=False)


if __name__ == "__main__":
    results = examine()
    print(report(results, as_json=False))
    sys.exit(not works(results))
