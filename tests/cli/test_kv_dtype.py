"""How blocks are written: as asked, by default, and as a video was begun."""

import json
from pathlib import Path

import pytest

from tests.conftest import Streamkv

FAST = ("--fps", "0.25", "--quiet")


@pytest.mark.parametrize(
    ("flags", "codec"),
    [
        ((), "int8"),
        (("--keep", "1"), "raw"),
        (("--kv-dtype", "int4", "--keep", "1"), "int4"),
        (("--kv-dtype", "bf16"), "bf16"),
        (("--kv-dtype", "bf16", "--dtype", "bfloat16"), "raw"),
    ],
)
def test_what_is_written(
    streamkv: Streamkv, demo_video: Path, tiny: Path, flags: tuple[str, ...], codec: str
) -> None:
    done = streamkv("ingest", demo_video, "--model", tiny, *FAST, *flags)
    assert done.returncode == 0, done.stderr
    [line] = streamkv("ls", "--json").stdout.splitlines()
    assert json.loads(line)["codec"] == codec
    asked = streamkv("ask", "who?", "--max-new-tokens", "2", "-q")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()


def test_a_video_goes_on_as_it_was_begun(streamkv: Streamkv, demo_video: Path, tiny: Path) -> None:
    ingest = ("ingest", demo_video, "--model", tiny, "--fps", "0.25")
    assert streamkv(*ingest, "--kv-dtype", "int4").returncode == 0
    again = streamkv(*ingest)
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    other = streamkv(*ingest, "--kv-dtype", "int8")
    assert other.returncode == 4
    assert "--kv-dtype 'int4' there, 'int8' now" in other.stderr
