"""An archive of 200 videos and what else lies in folders, piped in, killed twice, completed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.clips import damaged, numbered, truncated, write_clip
from tests.conftest import Streamkv

VIDEOS = 200


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    top = tmp_path / "archive"
    for n in range(VIDEOS):
        folder = top / f"tape {n // 20:02}"
        folder.mkdir(parents=True, exist_ok=True)
        suffix = ("mp4", "mkv", "mov", "avi")[n % 4]
        pictures = numbered(n % 100 + 30)[n % 100 :]
        # Twice the same pictures would be twice the same file: the second hundred runs faster.
        write_clip(folder / f"v{n:03}.{suffix}", pictures, fps=5 + 5 * (n // 100))
    one = top / "tape 00" / "v000.mp4"
    shutil.copy(one, top / "copy of v000.mp4")
    (top / "link.mp4").symlink_to(one)
    (top / "empty.mp4").touch()
    (top / "notes.txt").write_text("tape 3 is mouldy\n")
    (top / "fake.mkv").write_bytes(bytes(range(256)) * 40)
    truncated(Path(shutil.copy(one, top / "cut.mp4")), 0.3)
    damaged(Path(shutil.copy(top / "tape 00" / "v004.mp4", top / "spoilt.mp4")), length=4000)
    return top


class Watch(threading.Thread):
    """Samples a process's open files and resident memory (MiB) until it ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__()
        self.process = process
        self.files: list[int] = []
        self.memory: list[float] = []

    def run(self) -> None:
        pid = self.process.pid
        while self.process.poll() is None:
            try:
                files = len(os.listdir(f"/proc/{pid}/fd"))
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                if not pages:
                    return  # it has ended and is not waited for yet
                self.files.append(files)
                self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            except (OSError, IndexError):
                return
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_archive_killed_twice_is_completed(
    archive: Path, store: Path, tmp_path: Path, streamkv: Streamkv
) -> None:
    find = ["find", str(archive), "-not", "-type", "d", "-print0"]
    listing = subprocess.run(find, capture_output=True, check=True).stdout
    (tmp_path / "list").write_bytes(listing)
    command = [sys.executable, "-m", "streamkv_cli", "ingest", "-0", "-", "-m", "demo", "--json"]
    runs: list[list[dict]] = []
    watches = []
    for kill_after in (60, 130, None):
        began = time.monotonic()
        with (tmp_path / "list").open("rb") as stdin, (tmp_path / "err").open("w") as err:
            run = subprocess.Popen(
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=err, text=True
            )
            watch = Watch(run)
            watch.start()
            watches.append(watch)
            assert run.stdout is not None
            lines = []
            for line in run.stdout:
                lines.append(json.loads(line))
                if len(lines) == kill_after:
                    run.send_signal(signal.SIGKILL)
                    break
            run.stdout.close()
            run.wait(timeout=600)
            watch.join()
        seconds = time.monotonic() - began
        runs.append(lines)
        statuses = Counter(line["status"] for line in lines)
        print(
            f"\n{dict(statuses)} in {seconds:.0f} s, files open {min(watch.files)} to "
            f"{max(watch.files)}, memory {watch.memory[len(watch.memory) // 4]:.0f} then "
            f"{watch.memory[-1]:.0f} MiB"
        )
    last = runs[-1]
    assert run.returncode == 3
    assert len(last) == listing.count(b"\0") == VIDEOS + 7
    failed = {Path(line["path"]).name for line in last if line["status"] == "failed"}
    assert {"empty.mp4", "notes.txt", "fake.mkv", "cut.mp4"} <= failed
    assert failed <= {"empty.mp4", "notes.txt", "fake.mkv", "cut.mp4", "spoilt.mp4"}
    statuses = Counter(line["status"] for line in last)
    assert statuses["already"] >= 120
    assert statuses["duplicate"] == 2
    errors = (tmp_path / "err").read_text()
    assert "Traceback" not in errors
    assert all(name in errors.split("videos failed")[1] for name in failed)
    # Flat: the last run, of all videos, needs the files that the first needed for sixty (its own
    # first half only looks up what is done), and its second half the memory of its first.
    assert max(watch.files) <= max(watches[0].files) + 2
    half = len(watch.files) // 2
    assert max(watch.memory[half:]) <= max(watch.memory[:half]) + 40

    listed = [json.loads(line) for line in streamkv("ls", "--json").stdout.splitlines()]
    assert len(listed) in (VIDEOS, VIDEOS + 1)
    assert all(video["complete"] for video in listed)
    again = streamkv("ingest", archive, "-m", "demo", "--json")
    assert Counter(json.loads(line)["status"] for line in again.stdout.splitlines())["done"] == 0
    assert streamkv("prune", "--dry-run").stderr == "nothing to prune\n"
