"""How many threads compute, and how they wait: polite to other processes, and as the user says."""

import os
import subprocess
import sys

import pytest

THREADS = """
import torch
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
torch.set_num_threads(2)
load_model(find_checkpoint("demo"), choose_placement("cpu", "float32"))
print(torch.get_num_threads())
"""
WAITING = """
import os
import streamkv_cli.__main__
print(os.environ.get("GOMP_SPINCOUNT"))
"""


def run(program: str, **said: str) -> str:
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment | said, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(("said", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")])
def test_a_small_model_takes_one_thread(said: dict[str, str], threads: str) -> None:
    assert run(THREADS, **said) == threads


@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_do_not_wait_at_the_cost_of_others(said: dict[str, str], spins: str) -> None:
    assert run(WAITING, **said) == spins
