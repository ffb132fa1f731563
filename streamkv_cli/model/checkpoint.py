"""Find a model by folder or hub id and look at it without loading it.

Everything that can be wrong with a checkpoint is found here, before a heavy library is imported:
missing, half downloaded, unsupported, without safetensors.
"""

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from streamkv_cli.errors import ModelError
from streamkv_cli.model.families import FAMILIES
from streamkv_cli.model.fingerprint import VERSION, version_of, weights_fingerprint

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo"
"""The small model that comes with the program; it knows the demo world and nothing else."""

_DOWNLOAD = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model")


@dataclass(frozen=True)
class Checkpoint:
    """A model's files on this machine.

    Attributes:
        source: folder, hub id or "demo", as the user named it (folders made absolute).
        folder: where the files are.
        revision: commit of a hub model; empty for a folder.
        config: content of config.json.
        weights: its safetensors files.
    """

    source: str
    folder: Path
    revision: str
    config: dict[str, Any] = field(repr=False)
    weights: list[Path] = field(repr=False)

    @property
    def family(self) -> str:
        """config.json's model_type; a key of FAMILIES."""
        return str(self.config["model_type"])

    @property
    def text_config(self) -> dict[str, Any]:
        """Its part about the text model; the whole, where older versions wrote one part only."""
        return dict(self.config.get("text_config") or self.config)

    @cached_property
    def weights_fingerprint(self) -> str:
        """Identity of the weights; any retrained tensor changes it."""
        return weights_fingerprint(self.weights)

    def weights_fingerprint_like(self, other: str) -> str:
        """The same by the rule that `other` was made with, so that the two can be compared."""
        if version_of(other) == VERSION:
            return self.weights_fingerprint
        return weights_fingerprint(self.weights, version_of(other))

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """Identity of the tokenizer's files."""
        digest = xxhash.xxh3_128()
        for name in _TOKENIZER_FILES:
            if (path := self.folder / name).is_file():
                digest.update(name.encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()


def find_checkpoint(
    source: str, revision: str | None = None, *, download: bool = True
) -> Checkpoint:
    """The checkpoint behind a folder path or a hub id; downloads a hub model if it may.

    Raises:
        ModelError: nothing there, not whole, not supported.
    """
    local = Path(source).expanduser()
    if source == DEMO and DEMO_FOLDER.is_dir():
        folder, commit = DEMO_FOLDER, ""
    elif local.is_dir():
        folder, commit, source = local.resolve(), "", str(local.resolve())
    elif local.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ModelError(
            f"{source} is not a folder with a model",
            "give a folder that holds config.json and *.safetensors, or a hub id like "
            "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        )
    else:
        folder, commit = find_files(source, revision, _DOWNLOAD, download)
    config = _read_config(source, folder)
    if commit and not any(folder.glob("*.safetensors*")):
        # A download that broke off was told of before: the repository has none.
        raise ModelError(
            f"{source} has only pickled weights, which are never loaded, or none",
            "use a revision of it with *.safetensors files",
        )
    return Checkpoint(source, folder, commit, config, weight_files(source, folder))


def find_files(
    source: str, revision: str | None, patterns: list[str], download: bool = True
) -> tuple[Path, str]:
    """A hub model's files in the cache, downloaded if need be: their folder and the commit.

    Raises:
        ModelError: there is no such model, or it cannot be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        with _only_bars():
            folder = Path(
                snapshot_download(
                    source,
                    revision=revision,
                    allow_patterns=patterns,
                    local_files_only=not download,
                )
            )
    except GatedRepoError:
        raise ModelError(
            f"{source} is gated on the hub", "accept its terms there and log in with: hf auth login"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(
            f"there is no model {source}, neither as a folder nor on the hub",
            "check the spelling; private models need: hf auth login",
        ) from None
    except RevisionNotFoundError:
        raise ModelError(f"{source} has no revision {revision}", "check --revision") from None
    except LocalEntryNotFoundError:
        if not download:
            raise ModelError(
                f"{source} is not on this machine yet", "ingest downloads it, where it may"
            ) from None
        raise ModelError(
            f"{source} is not on this machine, or only in part, and the hub cannot be reached",
            "check the connection, or give --model a folder",
        ) from None
    except Exception as error:  # whatever a broken connection or a strange server brings about
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(f"{source} cannot be downloaded: {first_line}", "try again") from error
    return folder, folder.name


@contextlib.contextmanager
def _only_bars() -> Iterator[None]:
    """Of what the hub's library tells, only progress bars, and these on a terminal only."""
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    level, shown = get_verbosity(), sys.stderr is not None and sys.stderr.isatty()
    set_verbosity(logging.CRITICAL)
    if not shown:
        disable_progress_bars()
    try:
        yield
    finally:
        set_verbosity(level)
        if not shown:
            enable_progress_bars()


def _read_config(source: str, folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{source} has no config.json, so it is not a model",
            "give a folder that holds config.json and *.safetensors",
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error})", "fetch the model again") from None
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ModelError(
            f"{source} is a {family or 'nameless'} model, which is not supported",
            f"supported: {', '.join(sorted(FAMILIES))}",
        )
    return dict(config)


def weight_files(source: str, folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint.

    Raises:
        ModelError: one is missing, or there are none.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return [folder / name for name in names]
    if not index.is_file() and (any(folder.glob("*.bin")) or any(folder.glob("*.pth"))):
        raise ModelError(
            f"{source} has only pickled weights, which are never loaded",
            "use a revision of it with *.safetensors files",
        )
    raise ModelError(
        f"{source} is incomplete: {missing[0]} is missing"
        + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
        "the download was interrupted; fetch the model again",
    )
