"""Damage as a user meets it: found, named, dropped, and its seconds ingested again."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store import check
from streamkv_cli.method.threshold import CalibratedThreshold
from tests.cli.test_commands import json_lines, one_line_error
from tests.conftest import Streamkv
from tests.store.samples import damage_last_block

SETTINGS = (
    "--fps",
    "1",
    "--keep",
    "0.5",
    "--min-frames",
    "3",
    "--window",
    "80",
    "--kv-dtype",
    "int8",
)


@pytest.fixture
def ingested(streamkv: Streamkv, demo_video: Path, tiny: Path) -> Path:
    words = ("--guidance-prompt", "What's  \nthere?", "-q")
    assert streamkv("ingest", demo_video, "-m", tiny, *SETTINGS, *words).returncode == 0
    return demo_video


@pytest.mark.parametrize("lost", [[2], [0, 1, 4]])
def test_lost_seconds_come_back_bit_for_bit(
    streamkv: Streamkv, ingested: Path, store: Path, lost: list[int]
) -> None:
    files = sorted(store.glob("videos/*/*.safetensors"))
    whole = {path: path.read_bytes() for path in files}
    whole_answer = streamkv("ask", "what?", "--max-new-tokens", "6", "--json").stdout
    for number in lost:
        damage_last_block(files[number])
    assert streamkv("check").returncode == 0
    found = streamkv("check", "--read-data", "--json")
    assert found.returncode == 4
    assert [(f["kind"], f["segment"], f["layer"]) for f in json_lines(found.stdout)[:-1]] == [
        ("damage", number, 2) for number in lost
    ]
    tried = streamkv("repair", "--dry-run")
    assert tried.returncode == 4
    repaired = streamkv("repair")
    assert repaired.returncode == 4
    assert tried.stderr.replace("would be ", "") == repaired.stderr
    assert [path for path in files if not path.exists()] == [files[number] for number in lost]

    asked = streamkv("ask", "what?", "--max-new-tokens", "6", "--json")
    assert asked.returncode == 0
    assert "has gaps" in asked.stderr or "is ingested up to" in asked.stderr
    for piece in json.loads(asked.stdout)["evidence"]:
        assert not any(n * 8 <= piece["start"] < n * 8 + 8 for n in lost)

    line = next(line for line in repaired.stderr.splitlines() if "to ingest just that" in line)
    program, *command = shlex.split(line.rpartition(": ")[2])
    assert program == "streamkv"
    filled = streamkv(*command, "--json")
    assert filled.returncode == 0, filled.stderr
    (done,) = json_lines(filled.stdout)
    assert (done["frames"], done["segments"]) == (8 * len(lost), 6)
    assert {path: path.read_bytes() for path in files} == whole
    assert streamkv("prune").returncode == 0
    clean = streamkv("check", "--read-data")
    assert (clean.returncode, clean.stdout) == (0, "")
    again = streamkv("ask", "what?", "--max-new-tokens", "6", "--json").stdout
    assert without_times(again) == without_times(whole_answer)
    assert "already ingested" in streamkv(*command).stderr


def without_times(text: str) -> dict:
    return {key: value for key, value in json.loads(text).items() if "seconds" not in key}


def test_a_gap_that_is_cut_otherwise_is_not_filled(
    streamkv: Streamkv, ingested: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine whose numbers differ so much that a cut is not seen."""
    sorted(store.glob("videos/*/*.safetensors"))[1].unlink()
    assert streamkv("repair", "-q").returncode == 4
    before = streamkv("show", ingested.name).stdout
    with monkeypatch.context() as patch:
        patch.setattr(CalibratedThreshold, "is_cut", lambda _self, _similarity: False)
        result = streamkv("ingest", ingested, "--as-stored", "-q")
    line = one_line_error(result, 4)
    assert "the gap of scenes.mp4 from 8.0 s to 16.0 s cannot be filled" in line
    assert "streamkv rm" in line
    assert streamkv("show", ingested.name).stdout == before
    assert streamkv("ingest", ingested, "--as-stored", "-q").returncode == 0
    assert streamkv("check", "-q").returncode == 0


def test_the_index_in_every_bad_state_is_made_again(
    streamkv: Streamkv, ingested: Path, store: Path
) -> None:
    before = streamkv("ls").stdout
    data = store / "index.lmdb" / "data.mdb"
    for bad in (None, b"", b"\xff" * 8192, data.read_bytes()[:10_000]):
        if bad is None:
            shutil.rmtree(store / "index.lmdb")
        else:
            data.write_bytes(bad)
        line = one_line_error(streamkv("ls"), 4)
        assert "streamkv repair" in line
        result = streamkv("repair")
        assert result.returncode == 0
        assert result.stderr.startswith("index rebuilt: 1 video, 6 segments")
        assert streamkv("ls").stdout == before


def test_as_stored_needs_a_stored_video(
    streamkv: Streamkv, ingested: Path, tiny: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(ingested.read_bytes() + b"\0" * 100)
    line = one_line_error(streamkv("ingest", other, "--as-stored"), 1)
    assert "not in the store" in line
    line = one_line_error(streamkv("ingest", ingested, "--as-stored", "--keep", "0.3"), 2)
    assert "--as-stored" in line
    line = one_line_error(streamkv("ingest", ingested), 2)
    assert "--model" in line


def test_findings_are_one_line_each(streamkv: Streamkv, ingested: Path, store: Path) -> None:
    files = sorted(store.glob("videos/*/*.safetensors"))
    damage_last_block(files[3])
    (files[0].parent / "00000006.safetensors.tmp").write_bytes(b"x")
    result = streamkv("check", "--read-data")
    damage, orphan = result.stdout.splitlines()
    assert damage.startswith("damage: block 8 in layer 2 of segment 3 of video")
    assert damage.endswith(
        "streamkv repair drops it and shows the command that ingests its seconds again"
    )
    assert orphan.startswith("orphan: ")
    assert re.fullmatch(
        r"6 segments checked, [0-9.]+ KiB of blocks verified: 1 finding of damage\n", result.stderr
    )


def test_an_interrupt_at_any_moment_ends_with_130(
    store: Path, demo_video: Path, tiny: Path
) -> None:
    """While modules load, while the model loads, while frames come: one line."""
    words = [sys.executable, "-m", "streamkv_cli", "ingest", str(demo_video), "-m", str(tiny)]
    words += ["--fps", "4", "--threshold", "1", "--min-frames", "2", "-q"]
    for moment, sign in ((0.0, signal.SIGTERM), (1.0, signal.SIGINT), (3.0, signal.SIGTERM)):
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            while not handles_sigint(process.pid):
                time.sleep(0.01)
            time.sleep(moment)
            process.send_signal(sign)
            _, err = process.communicate(timeout=60)
        if process.returncode != 0:  # a fast machine may be through with it
            assert process.returncode == 130
            (line,) = err.strip().splitlines()
            assert line.startswith("interrupted")
        if (store / "streamkv.json").exists():
            assert [one for one in check(store, read_data=True) if one.kind == "damage"] == []


def handles_sigint(pid: int) -> bool:
    """Whether the program, and not only the interpreter, has begun; at once where nobody tells."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)  # type: ignore[index]
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_two_ingests_of_one_video(
    streamkv: Streamkv, process: Streamkv, store: Path, demo_video: Path, tiny: Path
) -> None:
    """The second is told who has it; after a kill, the next says whose lock it took over."""
    words = ["ingest", str(demo_video), "-m", str(tiny), "--fps", "4", "--threshold", "1"]
    words += ["--min-frames", "2"]
    with subprocess.Popen([sys.executable, "-m", "streamkv_cli", *words, "-q"]) as first:
        try:
            while not list(store.glob("videos/*/*.safetensors")):
                assert first.poll() is None
                time.sleep(0.02)
            os.kill(first.pid, signal.SIGSTOP)  # likely as it commits: LMDB's writer lock is held
            refused = process(*words)
        finally:
            first.kill()  # or leaving the block would wait for it, and no time limit reaches there
    line = one_line_error(refused, 4)
    assert re.search(
        rf"scenes.mp4 is being written by process {first.pid} \(streamkv_cli ingest .*\), "
        rf"since .* ago; wait until it ends",
        line,
    )
    result = streamkv(*words)
    assert result.returncode == 0, result.stderr
    assert f"scenes.mp4: took over from process {first.pid} (streamkv_cli ingest " in result.stderr
    assert streamkv("check", "--read-data", "-q").returncode == 0
