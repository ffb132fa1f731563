"""How long the program takes to start, beside Python itself."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from streamkv_cli.bench.figure import Figure, turns

_PYTHON = (sys.executable, "-c", "pass")
_PROGRAM = (sys.executable, "-m", "streamkv_cli")


def measure_start(folder: Path, rounds: int) -> list[Figure]:
    """Whole processes: `--help`, `ls`, and `ask` up to where it would load a model."""
    store = ("--store", str(folder))
    commands = {
        "--help": ("--help",),
        "ls": ("ls", *store),
        "ask, no model": ("ask", "?", "--video", "no such video", *store),
    }
    found = []
    for name, words in commands.items():
        taken = turns(
            rounds,
            ours=lambda words=words: _seconds((*_PROGRAM, *words)),  # type: ignore[misc]
            bound=lambda: _seconds(_PYTHON),
        )
        found.append(
            Figure(
                f"start of {name}",
                "s",
                taken["ours"],
                bound=taken["bound"],
                bound_is="python -c pass",
            )
        )
    return found


def _seconds(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False, timeout=600)
    return time.perf_counter() - begun
