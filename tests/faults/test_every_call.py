"""Killed, or refused by the system, at every single call that touches the disk.

The real code runs; a small preloaded library (shim.c) ends it at its n-th call, or makes that call
fail, for every n. Afterwards every promise of the store is asked for (life.py).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    built = tmp_path_factory.mktemp("shim") / "shim.so"
    words = [compiler, "-shared", "-fPIC", "-O1", "-o", built, HERE / "shim.c", "-ldl"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the compiler cannot build it: {done.stderr[-200:]}")
    return built


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a file system: thousands of real fsyncs take minutes."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


def run(shim: Path, place: Path, cases: list[str]) -> tuple[int, int, int, set[str]]:
    """Cases that were killed, that ended with an error, that went through; and the calls met."""
    words = [sys.executable, "-m", "tests.faults.life", str(place), str(shim), *cases]
    environment = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, summary, calls = done.stdout.splitlines()
    found = re.fullmatch(
        r"\d+ cases, 0 bad; (\d+) killed, (\d+) ended with 5, (\d+) went through", summary
    )
    assert found, done.stdout
    return int(found[1]), int(found[2]), int(found[3]), set(calls.split(": ")[1].split())


CALLS = {"open64", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "mkdir", "close"}


@pytest.mark.timeout(900)
def test_faults_at_calls_all_over(shim: Path, place: Path) -> None:
    """Every seventh call, so that each kind of call meets each kind of fault in seconds."""
    killed, told, through, calls = run(
        shim, place, ["kill:1:7", "half:2:14", "ENOSPC:3:14", "EIO:5:14", "EROFS:11:40"]
    )
    assert killed > 30
    assert told > 15
    assert through < told  # some calls may fail and do no harm: closing, clearing away
    assert calls >= CALLS


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_faults_at_every_call(shim: Path, place: Path) -> None:
    names = ("kill", "half", "ENOSPC", "EIO", "EDQUOT", "EROFS")
    killed, told, _, calls = run(shim, place, [f"{name}:1:1" for name in names])
    assert killed > 200
    assert told > 400
    assert calls >= CALLS
