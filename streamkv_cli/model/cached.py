"""Models on this machine: what the hub's cache holds of the families there are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamkv_cli.errors import ModelError, StreamKVError
from streamkv_cli.model.checkpoint import DEMO, DEMO_FOLDER, find_files
from streamkv_cli.model.families import FAMILIES
from streamkv_cli.model.needs import read_config


@dataclass(frozen=True)
class Found:
    """A model on this machine.

    Attributes:
        source: hub id or folder.
        config: its config.json.
        revision: commit of a hub model.
        state: "whole", or what it lacks.
    """

    source: str
    config: dict[str, Any]
    revision: str
    state: str


def cached_models() -> list[Found]:
    """Models of supported families in the hub's cache, and the demo model."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    found = []
    if DEMO_FOLDER.is_dir():
        found.append(Found(DEMO, read_config(DEMO_FOLDER / "config.json"), "", "whole"))
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return found
    for repository in sorted(repositories, key=lambda known: known.repo_id):
        if repository.repo_type != "model":
            continue
        for revision in sorted(repository.revisions, key=lambda known: known.commit_hash):
            config = read_config(revision.snapshot_path / "config.json")
            if config.get("model_type") in FAMILIES:
                state = state_of(repository.repo_id, revision.snapshot_path)
                found.append(Found(repository.repo_id, config, revision.commit_hash, state))
    return found


def look_up(source: str, revision: str | None = None) -> Found:
    """A model by folder or hub id; of a hub model that is not here, only config.json is fetched.

    Raises:
        ModelError: there is no such model, or it cannot be reached.
    """
    local = Path(source).expanduser()
    if source == DEMO and DEMO_FOLDER.is_dir():
        local = DEMO_FOLDER
    if local.is_dir():
        config = read_config(local / "config.json")
        if not config:
            raise ModelError(
                f"{source} has no config.json that can be read, so it is not a model",
                "give a folder that holds one, or a hub id",
            )
        return Found(source, config, "", state_of(source, local))
    folder, commit = find_files(source, revision, ["config.json"])
    return Found(source, read_config(folder / "config.json"), commit, state_of(source, folder))


def state_of(source: str, folder: Path) -> str:
    """Whether the weights are there."""
    from streamkv_cli.model.checkpoint import weight_files

    try:
        weight_files(source, folder)
    except StreamKVError as error:
        lacks = error.what.removeprefix(f"{source} ")
        return "not downloaded" if not any(folder.glob("*.safetensors")) else lacks
    return "whole"
