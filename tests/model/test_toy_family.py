"""A new family is one file and one entry: ingested, stored and asked with no other change."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamkv_cli.errors import ModelError
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.families import FAMILIES, Family

Streamkv = Callable[..., subprocess.CompletedProcess[str]]


def test_one_file_and_one_entry(
    streamkv: Streamkv, tiny: Path, demo_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if nobody had known its model_type before.
    monkeypatch.delitem(FAMILIES, "llava_onevision")
    with pytest.raises(ModelError, match="llava_onevision model, which is not supported"):
        find_checkpoint(str(tiny))
    toy = Family("Toy", "tests.model.toy_family", "none")
    monkeypatch.setitem(FAMILIES, "llava_onevision", toy)
    done = streamkv("ingest", demo_video, "--model", tiny, "--fps", 0.5, "--keep", 0.5)
    assert done.returncode == 0, done.stderr
    shown = json.loads(streamkv("show", demo_video.name, "--json").stdout.splitlines()[0])
    assert shown["notes"]["layout"]["head"] == 4  # "[999" in bytes
    asked = streamkv("ask", "who?", "--blocks", 3, "--max-new-tokens", 4, "--json")
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert len(answer["tokens"]) == 4
    assert answer["evidence"]
    assert "Toy" in streamkv("models").stdout
