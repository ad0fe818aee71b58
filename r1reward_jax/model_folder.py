"""What a model's folder holds, judged by its files: a model, or what it is instead.

Nothing here imports JAX: commands look at the folder first.
"""

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from r1reward_jax.errors import InputError
from r1reward_jax.reading import read_regular

LARGEST_JSON = 64 * 2**20
"""Bytes of a settings file; the largest of a real model, an index of shards, has 0.2 MiB."""
POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS has not fetched."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
PARTIAL = (".incomplete", ".part", ".crdownload", ".aria2", ".lock")


def problem(folder: str) -> str | None:
    """Return why a local folder is no model's, and what to do; None if it has a config.json and is
    no adapter, or lies elsewhere."""
    if "://" in folder:
        return None
    root = Path(folder)
    if not os.path.isdir(root):
        return _file_problem(root) if os.path.exists(root) else "no such folder"
    if not os.access(root, os.R_OK | os.X_OK):
        return "cannot be read (permission denied); change its mode"
    names = sorted(entry.name for entry in root.iterdir())
    for name in names:
        if (odd := irregular(root / name)) and not name.startswith("."):
            return f"{name} is {odd}"
    weights = [n for n in names if n.endswith(".safetensors")]
    adapter = [n for n in names if n.startswith("adapter_model.")]
    if adapter or ("adapter_config.json" in names and not weights):
        return (
            f"is a LoRA adapter{_base(root / 'adapter_config.json')}, not a model; merge it into "
            "its base first (peft: merge_and_unload, then save_pretrained)"
        )
    return None if "config.json" in names else _instead(root, names)


def irregular(path: Path) -> str | None:
    """Return what a path is that is neither a file nor a folder: reading it could wait forever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link to nothing; is the hub's cache, or a download, incomplete?"
    except OSError as error:
        return f"not readable ({error.strerror})"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    kinds = {stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket"}
    kind = next((name for test, name in kinds.items() if test(mode)), "a device")
    return f"{kind}, expected a file"


def _base(path: Path) -> str:
    """Return " of BASE", where an adapter's config names it."""
    try:
        base = read_json(path).get("base_model_name_or_path")
    except InputError:
        base = None
    return f" of {base}" if isinstance(base, str) and base.isprintable() and len(base) < 200 else ""


def _file_problem(path: Path) -> str:
    """Return what to do with a file in place of a folder."""
    if path.suffix == ".gguf":
        return f"is a GGUF file; {GGUF}"
    if path.suffix in PICKLED:
        return f"is a file of pickled weights; {UNPICKLED}"
    if path.suffix == ".safetensors" or path.name == "config.json":
        return f"is a file; give its folder, {path.parent}"
    return "is a file"


GGUF = "quantised GGUF weights are not read, take the safetensors of the model"
UNPICKLED = (
    "they are never unpickled, as that runs code; load them where you trust them and save them "
    "with save_pretrained(…, safe_serialization=True)"
)


def _instead(root: Path, names: list[str]) -> str:
    """Return what a folder without a config.json is."""
    what = "holds no config.json"
    if not names:
        return f"{what}: the folder is empty"
    if "snapshots" in names:
        found = sorted(p.name for p in (root / "snapshots").iterdir())
        inside = f"{root}/snapshots/{found[0]}" if found else "its name on the hub"
        return f"{what}: it is a model of the hub's cache; give {inside}"
    if cached := [n for n in names if n.startswith("models--")]:
        name = cached[0].removeprefix("models--").replace("--", "/", 1)
        return f"{what}: it is the hub's cache; give a name, such as {name}"
    inside = [n for n in names if (root / n / "config.json").is_file()]
    if "exported" in inside or len(inside) == 1:  # of a run, or of a folder unpacked once too often
        return f"{what}; did you mean {root / ('exported' if 'exported' in inside else inside[0])}?"
    if found := _checkpoints(root):
        return (
            f"{what}: it is a checkpoint of a run; `r1reward convert {found} TARGET --like MODEL` "
            "makes a model of it, MODEL is what the run started from"
        )
    if partial := [n for n in names if n.endswith(PARTIAL)]:
        return f"{what}: a download that stopped ({partial[0]}); fetch it again"
    suffixes = {Path(n).suffix for n in names}
    if ".gguf" in suffixes:
        return f"{what}; {GGUF}"
    if "reward_head.npz" in names and ".safetensors" not in suffixes:
        return f"{what}: it is a reward head without its model; export both together"
    if ".safetensors" in suffixes:
        return f"{what}, only weights; copy config.json and the tokenizer from the model's page"
    if suffixes & set(PICKLED):
        return f"{what}; of its pickled weights: {UNPICKLED}"
    if "tokenizer.json" in names or "tokenizer_config.json" in names or "vocab.json" in names:
        return f"{what}: it is a tokenizer's folder, without a model"
    return f"{what}; expected the folder of a Hugging Face checkpoint, or ORG/NAME[@REVISION]"


def _checkpoints(root: Path) -> str | None:
    """Return the folder of Orbax checkpoints (RUN/checkpoints/PHASE, with a folder for each step)
    that a folder is, lies in or holds; None without one."""
    for marked, phase in (
        (root / "_METADATA", root.parent.parent),
        (root / "_CHECKPOINT_METADATA", root.parent),
    ):
        if marked.exists():
            return str(phase)
    for pattern in ("*/_CHECKPOINT_METADATA", "*/*/_CHECKPOINT_METADATA"):
        if found := sorted(root.glob(pattern)):
            return str(found[0].parent.parent)
    found = sorted(root.glob("checkpoints/*/*/_CHECKPOINT_METADATA"))
    return str(found[-1].parent.parent) if found else None


def require_model(folder: str) -> None:
    """Raise InputError if a folder is of another kind, see `problem`."""
    if why := problem(folder):
        raise InputError(f"{folder}: {why}")


def read_json(path: Any) -> dict[str, Any]:
    """Return the object in a settings file (a path of pathlib or etils).

    Raises:
      InputError: no such file, no regular one, or it does not hold a JSON object.
    """
    try:
        data = read_regular(path, LARGEST_JSON)
    except OSError as error:
        missing = "not found" if isinstance(error, FileNotFoundError) else None
        raise InputError(f"{path}: {missing or error.strerror or error}") from None
    if data.startswith(POINTER):
        raise InputError(f"{path}: {FETCH}")
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise InputError(f"{path}: not JSON ({why})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


FETCH = "a pointer of Git LFS, not the file itself; fetch it with `git lfs pull` or `hf download`"


def weight_files(folder: str) -> list[Path]:
    """Return the safetensors files of a local model's folder, all of them there and regular.

    Raises:
      InputError: there are none, or some that the index lists are missing; it says what is there
        instead.
    """
    if "://" in folder:
        raise InputError(f"{folder}: weights are read from local folders only; copy it first")
    root = Path(folder)
    names = sorted(p.name for p in root.iterdir())
    files = [root / n for n in names if n.endswith(".safetensors")]
    index = root / "model.safetensors.index.json"
    if index.exists() and not (root / "model.safetensors").exists():
        listed = read_json(index).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(f, str) for f in listed.values()):
            raise InputError(f"{index}: expected a weight_map from tensors to files")
        wanted = sorted(set(listed.values()))
        if missing := [name for name in wanted if name not in names]:
            more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
            raise InputError(
                f"{folder}: {len(missing)} of the {len(wanted)} files that {index.name} lists are "
                f"missing: {', '.join(missing[:8])}{more}; a download that stopped? fetch it again"
            )
    if not files:
        raise InputError(f"{folder}: no *.safetensors file{_other_weights(names)}")
    for file in files:
        if odd := irregular(file):
            raise InputError(f"{file}: {odd}")
        if file.is_dir():
            raise InputError(f"{file}: a folder, expected a file")
        with file.open("rb") as opened:
            if opened.read(len(POINTER)) == POINTER:
                raise InputError(f"{file}: {FETCH}")
    return files


def _other_weights(names: Iterable[str]) -> str:
    """Return what a folder has in place of safetensors."""
    names = list(names)
    if any(n.endswith(".gguf") for n in names):
        return f"; {GGUF}"
    if pickled := [n for n in names if n.endswith(PICKLED)]:
        return f", only pickled weights ({pickled[0]}): {UNPICKLED}"
    if partial := [n for n in names if n.endswith(PARTIAL)]:
        return f", but {partial[0]}: a download that stopped? fetch it again"
    return "; it has no weights: a download that stopped?"
