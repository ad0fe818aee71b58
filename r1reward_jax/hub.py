"""Models of the Hugging Face hub: `ORG/NAME[@REVISION]` goes wherever a model's folder goes.

A folder that is there wins. Everything is fetched through `huggingface_hub`, into its cache, once.
"""

import os
import re
from pathlib import Path

from r1reward_jax.errors import InputError
from r1reward_jax.places import place

FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model", "*.npz"]
"""What of a repository is needed: weights, tokenizer, settings."""
_ID = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)(?:@([\w./-]+))?")
_URL = re.compile(
    r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/+|hf://)(?:models/)?"
    r"(?!datasets/|spaces/)([\w.-]+/[\w.-]+?)(?:\.git)?(?:[/?#@].*)?",
    re.IGNORECASE,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def parsed(path: str) -> tuple[str, str | None] | None:
    """Return the repository and revision that a path names; None where it is a folder, or a path
    that cannot be a model of the hub.

    Raises:
      InputError: an address of the hub's pages, or another one that is not read.
    """
    if page := _URL.fullmatch(path):
        raise InputError(f"{path}: write {page[1]}, or {page[1]}@REVISION")
    match = _ID.fullmatch(path)
    if not match or os.path.exists(path):
        if path:
            place(path)
        return None
    return match[1], match[2]


def local(path: str) -> str:
    """Return the folder of a model: the path itself, or where its files of the hub lie.

    Raises:
      InputError: it is neither a folder nor in the cache, and cannot be fetched.
    """
    named = parsed(path)
    if named is None:
        return place(path) if path else path
    return _snapshot(*named)


def pinned(path: str) -> str:
    """Return the path with the commit of a model of the hub, so that a run that resumes has the
    same weights; a folder's as it is. Raises InputError as `local`."""
    named = parsed(path)
    if named is None or (named[1] and _COMMIT.fullmatch(named[1])):
        return path
    return f"{named[0]}@{Path(_snapshot(*named)).name}"


def _snapshot(repo: str, revision: str | None) -> str:
    """Fetch what is not in the cache; a commit that is there needs no network."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    settings = {"revision": revision, "allow_patterns": FILES}
    if revision and _COMMIT.fullmatch(revision):
        try:
            return huggingface_hub.snapshot_download(repo, local_files_only=True, **settings)
        except LocalEntryNotFoundError:
            pass
    try:
        return huggingface_hub.snapshot_download(repo, **settings)
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        why = " ".join(str(error).split()).split(". ")[0]
        at = f" --revision {revision}" if revision else ""
        raise InputError(
            f"{repo}{f'@{revision}' if revision else ''}: no such folder, and not to be had from "
            f"the hub ({type(error).__name__}: {why}); fetch it where there is a network with "
            f"`hf download {repo}{at}`"
        ) from None


def push(folder: str, repo: str, *, private: bool) -> str:
    """Upload a model's folder to the hub and return its address.

    Args:
      folder: as `convert` writes it.
      repo: ORG/NAME, made if needed.
      private: of a repository that is made.

    Raises:
      InputError: the name is none, or the hub refuses.
    """
    if not _ID.fullmatch(repo) or "@" in repo:
        raise InputError(f"--push-to-hub {repo}: expected ORG/NAME")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = huggingface_hub.HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=os.fspath(folder))
    except (HfHubHTTPError, OSError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{repo}: the hub refuses ({why}); the model is in {folder}, `hf auth login` and "
            f"`hf upload {repo} {folder}` push it"
        ) from None
    return f"https://huggingface.co/{repo}"
