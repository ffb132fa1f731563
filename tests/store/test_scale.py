"""Choosing blocks in an archive costs what its segments' keys cost, and no memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_hours(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.index_scale", "--hours", "10", "100"]
    command += ["--questions", "2", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    small, large = map(json.loads, done.stdout.splitlines())
    assert large["segments"] == 10 * small["segments"] == 11_200
    assert large["key_bytes"] == 11_200 * 24 * 2 * 64 * 2
    assert large["peak_bytes"] < small["peak_bytes"] + (16 << 20)
    assert large["peak_bytes"] < large["key_bytes"]
