"""A real `streamkv ingest` is killed at 200 random moments, and goes on each time."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store import Store, StoreError, check

KILLS = 200
# Many small segments, so that most moments fall between or into commits.
SETTINGS = ("--fps", "4", "--threshold", "1", "--min-frames", "2", "-q")


def files(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(root.glob("videos/*/*")) if p.is_file()}


def segments(root: Path) -> tuple[int, bool]:
    """How many segments a reader sees, and whether the video is complete."""
    try:
        with Store.open(root) as store:
            states = [state for _, state in store.videos()]
    except StoreError:
        return 0, False  # not made yet
    return (states[0].held, states[0].complete) if states else (0, False)


def kill_once(command: list[str], root: Path, picks: random.Random) -> tuple[int, bool]:
    """Start an ingest and kill it; the segments seen before, and whether it was through first."""
    seen, _ = before = segments(root)
    early = picks.random() < 0.25
    wait = picks.uniform(0, 6) if early else picks.uniform(0, 1.5)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        if not early:
            while child.poll() is None and segments(root)[0] <= before[0]:
                time.sleep(0.02)
        end = time.monotonic() + wait
        while child.poll() is None and time.monotonic() < end:
            seen = max(seen, segments(root)[0])
            time.sleep(0.01)
        child.kill()
        through = child.wait() == 0
    return seen, through


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_random_moments(tmp_path: Path, demo_video: Path, tiny: Path) -> None:
    base = [sys.executable, "-m", "streamkv_cli", "ingest", str(demo_video), "-m", str(tiny)]
    whole, root = tmp_path / "whole", tmp_path / "store"
    subprocess.run([*base, *SETTINGS, "--store", str(whole)], check=True)
    expected = files(whole)
    command = [*base, *SETTINGS, "--store", str(root)]
    picks = random.Random(int(os.environ.get("SOAK_SEED", "7")))
    rounds = finished = orphans = advanced = 0
    for number in range(KILLS):
        start = segments(root)[0]
        seen, through = kill_once(command, root, picks)
        now, complete = segments(root)
        assert now >= seen, f"kill {number}: {seen} segments were seen, {now} are there"
        advanced += now > start
        if (root / "streamkv.json").exists():
            found = list(check(root, read_data=True))
            assert [one for one in found if one.kind == "damage"] == [], f"kill {number}"
            orphans += sum(one.kind == "orphan" for one in found)
        assert {name: data for name, data in files(root).items() if name in expected}.items() <= (
            expected.items()
        )
        if through or complete:
            finished += 1
            assert complete
            subprocess.run(command, check=True)  # says that it is done; clears nothing away
            assert {k: v for k, v in files(root).items() if k != "writer.lock"} == expected
            shutil.rmtree(root)
        rounds += 1
    subprocess.run(command, check=True)
    assert files(root) == expected
    assert list(check(root, read_data=True)) == []
    print(
        f"{rounds} kills, {advanced} of them after new segments, {orphans} orphans left by them, "
        f"{finished} ingests completed in between, {len(expected)} segments each"
    )
    assert advanced > KILLS / 3
