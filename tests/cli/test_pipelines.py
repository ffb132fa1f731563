"""The shell pipelines of examples/ run as they stand."""

import csv
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.conftest import ROOT, Streamkv

PIPELINES = ROOT / "examples" / "pipelines"
CLIP = ROOT / "examples" / "demo.mp4"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "jq", "flock"))), reason="needs bash, jq and flock"
)


@pytest.fixture
def shell(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Streamkv:
    """Run a pipeline with `streamkv` on the path."""
    command = tmp_path / "bin" / "streamkv"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamkv_cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("STREAMKV_MODEL", "demo")

    def run(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        line = [str(PIPELINES / name), *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=280)

    return run


def test_new_files_in_a_folder(
    shell: Streamkv, streamkv: Streamkv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    shutil.copy(CLIP, films / "one.mp4")
    assert shell("ingest_new.sh", films).returncode == 0
    assert streamkv("ls").returncode == 1  # the file is too new
    monkeypatch.setenv("QUIET_MINUTES", "-1")
    with (tmp_path / "store.state" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert shell("ingest_new.sh", films).returncode == 0
    assert streamkv("ls").returncode == 1  # another run has the lock
    for _ in range(2):
        result = shell("ingest_new.sh", films)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert "one.mp4" in streamkv("ls", "--tag", "folder=films").stdout


def test_found_seconds_are_cut_out_and_questions_become_csv(
    shell: Streamkv, streamkv: Streamkv, tmp_path: Path
) -> None:
    assert streamkv("ingest", CLIP, "-m", "demo", "-q").returncode == 0
    result = shell("cut_found.sh", "the pink circle", tmp_path / "clips", "--limit", "3")
    assert result.returncode == 0, result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert len(lines) == 3
    for clip, source, start, end in lines:
        assert source == str(CLIP)
        with av.open(clip) as container:
            seconds = [frame.time for frame in container.decode(video=0)]
        # From the key picture before the start: never less than what was asked for.
        assert len(seconds) > 1
        assert seconds[-1] - seconds[0] >= float(end) - float(start) - 0.2

    (tmp_path / "questions.txt").write_text('where was the pink circle?\n\nwas it "red", or not?')
    result = shell("questions_to_csv.sh", tmp_path / "questions.txt")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["question"] for row in rows] == [
        "where was the pink circle?",
        'was it "red", or not?',
    ]
    assert all(row["answer"] for row in rows)
    assert rows[0]["video"] == "demo.mp4"
    assert float(rows[0]["to"]) > float(rows[0]["from"])
