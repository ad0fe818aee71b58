"""Models by their names on the hub, in a cache made by hand; nothing is fetched."""

from pathlib import Path

import huggingface_hub
import pytest

from r1reward_jax import hub, places
from r1reward_jax.cli.main import main
from r1reward_jax.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(checkpoint, tmp_path, monkeypatch):
    """The hub's cache with the tiny checkpoint as acme/judge."""
    folder = tmp_path / "hub" / "models--acme--judge"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    for file in Path(checkpoint).iterdir():
        (snapshot / file.name).symlink_to(file)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    fetch = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *a, **k: fetch(*a, cache_dir=str(tmp_path / "hub"), **k),
    )
    return snapshot


def test_a_name_of_the_hub_is_a_folder(cache):
    assert hub.local("acme/judge") == hub.local("acme/judge@main") == str(cache)
    assert hub.pinned("acme/judge") == f"acme/judge@{COMMIT}"
    assert hub.local(f"acme/judge@{COMMIT}") == str(cache)
    assert hub.pinned(f"acme/judge@{COMMIT}") == f"acme/judge@{COMMIT}"


def test_a_folder_that_is_there_wins(cache, tmp_path, monkeypatch):
    (tmp_path / "acme" / "judge").mkdir(parents=True)
    assert hub.local("acme/judge") == hub.pinned("acme/judge") == "acme/judge"
    assert hub.local("runs/rl/exported") == "runs/rl/exported" and hub.local("m") == "m"
    monkeypatch.setitem(places.PACKAGES, "gs", ("json",))  # as if gcsfs were here
    assert hub.local("gs://bucket/model") == "gs://bucket/model"


def test_what_is_not_in_the_cache_names_the_command_that_fetches_it(cache, capsys):
    with pytest.raises(InputError, match=r"`hf download acme/other --revision v1`"):
        hub.local("acme/other@v1")
    call = ["compare", "--model", "acme/other", "--question", "q", "--a", "a", "--b", "b"]
    assert main(call) == 2
    assert "`hf download acme/other`" in capsys.readouterr().err


def test_an_address_is_answered_with_what_to_write(capsys):
    with pytest.raises(InputError, match="write Qwen/Qwen2.5-VL-7B-Instruct, or"):
        hub.local("https://huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct/tree/main")


def test_a_folder_is_pushed(monkeypatch, tmp_path):
    calls = []

    class Api:
        def create_repo(self, repo, **settings):
            calls.append((repo, settings))

        def upload_folder(self, **settings):
            calls.append(settings)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    address = hub.push(str(tmp_path), "acme/mine", private=True)
    assert address == "https://huggingface.co/acme/mine"
    assert calls == [
        ("acme/mine", {"private": True, "exist_ok": True}),
        {"repo_id": "acme/mine", "folder_path": str(tmp_path)},
    ]
    monkeypatch.setattr(Api, "create_repo", lambda *a, **k: (_ for _ in ()).throw(OSError("401")))
    with pytest.raises(InputError, match="hf upload acme/mine"):
        hub.push(str(tmp_path), "acme/mine", private=False)
    with pytest.raises(InputError, match="expected ORG/NAME"):
        hub.push(str(tmp_path), "mine", private=False)
