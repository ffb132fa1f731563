"""The child process: bounded, quiet, and gone whenever the program goes."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamkv_cli.errors import VideoError
from streamkv_cli.video import FrameReader, open_video
from tests.clips import numbered, read_number, write_clip

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    return write_clip(path, numbered(100), options={"g": "20"})


def child(reader: FrameReader) -> int:
    assert reader._child is not None
    return reader._child.pid


def running(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be buried does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ends(pid: int) -> bool:
    for _ in range(200):
        if not running(pid):
            return True
        time.sleep(0.05)
    return False


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@needs_proc
def test_nothing_is_left_behind(clip: Path) -> None:
    before = descriptors()
    pids = []
    with open_video(clip, fps=10) as stopped_early:
        next(stopped_early)
        pids.append(child(stopped_early))
    dropped = open_video(clip, fps=10)
    pids.append(child(dropped))
    del dropped
    gc.collect()
    whole = open_video(clip, fps=10)
    pids.append(child(whole))
    assert len(list(whole)) == 100
    assert list(whole) == []
    raising = open_video(clip)
    pids.append(child(raising))
    with pytest.raises(ZeroDivisionError), raising:
        raise ZeroDivisionError
    assert not any(running(pid) for pid in pids)
    assert descriptors() == before


@needs_proc
def test_decoding_runs_ahead_but_not_far(clip: Path) -> None:
    with open_video(clip, fps=10, ahead=3, decoder="pyav") as reader:
        pid = child(reader)
        stat = Path(f"/proc/{pid}/stat")

        def worked() -> str:
            return stat.read_text().rsplit(")", 1)[1].split()[11]

        time.sleep(0.5)
        first = worked()
        time.sleep(0.3)
        assert worked() == first  # it waits for the consumer
        assert [read_number(f.pixels) for f in reader] == list(range(100))


@needs_proc
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_child_dies_with_a_killed_parent(clip: Path, decoder: str) -> None:
    code = (
        "import sys, time\n"
        "from streamkv_cli.video import open_video\n"
        f"reader = open_video({str(clip)!r}, fps=10, ahead=1, decoder={decoder!r})\n"
        "next(reader); print(reader._child.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert running(pid)
        parent.kill()
    assert ends(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="SIGIO on pipes is Linux's")
def test_lifeline_ends_a_child_that_hangs_with_the_lock_held() -> None:
    code = (
        "import ctypes\nfrom streamkv_cli.video import lifeline\nlifeline.hold(0)\n"
        "print('held', flush=True)\nctypes.PyDLL(None).sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.stdin.close()
        assert process.wait(timeout=30) == -signal.SIGIO


@needs_proc
def test_ctrl_c_is_the_parents_to_answer(clip: Path) -> None:
    with open_video(clip, fps=10, ahead=1) as reader:
        os.kill(child(reader), signal.SIGINT)
        assert len(list(reader)) == 100
        assert reader.warnings == []


def test_hanging_decord_is_replaced_where_it_stopped(clip: Path) -> None:
    with open_video(clip, fps=10, ahead=2, stall_seconds=2.0) as reader:
        first = next(reader)
        os.kill(child(reader), signal.SIGSTOP)
        frames = [first, *reader]
    assert [f.index for f in frames] == list(range(100))
    assert [read_number(f.pixels) for f in frames] == list(range(100))
    assert reader.info.decoder == "pyav"
    assert len(reader.warnings) == 1
    assert "gave no picture for 2 s" in reader.warnings[0]


def test_crashing_decord_is_replaced(clip: Path) -> None:
    with open_video(clip, fps=10, ahead=2) as reader:
        first = next(reader)
        os.kill(child(reader), signal.SIGSEGV)
        frames = [first, *reader]
    assert [read_number(f.pixels) for f in frames] == list(range(100))
    assert "crashed its decoder (SIGSEGV)" in reader.warnings[0]


def test_crashing_pyav_is_an_error(clip: Path) -> None:
    with open_video(clip, fps=10, ahead=2, decoder="pyav") as reader:
        next(reader)
        os.kill(child(reader), signal.SIGABRT)
        with pytest.raises(VideoError, match=r"crashed its decoder \(SIGABRT\)"):
            list(reader)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_silent_stream_is_given_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(VideoError, match=r"pipe gave no picture for 1 s"):
            open_video(pipe, stall_seconds=1.0)
    finally:
        os.close(writer)


def test_standard_input_is_a_stream(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "s.mkv", numbered(40))
    code = (
        "from streamkv_cli.video import open_video\n"
        "reader = open_video('/dev/stdin', fps=2)\n"
        "print(reader.info.name, reader.info.decoder, [f.index for f in reader], reader.warnings)\n"
    )
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=source.stdout,
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
    assert done.stdout.startswith("standard input pyav [0, 1, 2, 3, 4, 5, 6, 7] ['PyAV decodes")
    assert done.stderr == ""


def test_importing_the_room_is_cheap() -> None:
    code = (
        "import sys, streamkv_cli.video\n"
        "print(sorted({'av', 'decord', 'numpy', 'torch', 'xxhash'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
