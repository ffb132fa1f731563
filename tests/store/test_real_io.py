"""The promise that only the chosen blocks' bytes are read, held against the kernel's own count."""

import subprocess
import sys
from pathlib import Path

import pytest

from store import Geometry, Store
from tests.store import samples

GEOMETRY = Geometry(layers=2, kv_heads=2, tokens=64, head_dim=32, dtype="bfloat16")
BLOCK = 2 * 2 * 64 * 32 * 2

COUNT = """
import os, sys
import torch
from store import Store
def read_so_far():
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])
with Store.open(sys.argv[1]) as store:
    found = store.summaries(1, ["0123456789abcdef"])
    refs = found.refs([0, 1, 7, 12, 13, 14, 29])
    store.read_blocks(1, refs[:1])
    first = read_so_far()
    idle = read_so_far() - first  # what reading the counter itself adds
    before = read_so_far()
    blocks = store.read_blocks(1, refs)
    print(read_so_far() - before - idle, blocks.nbytes, store.io.blocks, store.io.bytes)
    print(store.io.files, store.io.runs)
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel keeps no such count")
def test_only_the_chosen_blocks_are_read(tmp_path: Path) -> None:
    assert GEOMETRY.decoded_bytes() == BLOCK
    with (
        Store.open(tmp_path / "s", create=True) as store,
        store.writer(samples.record(geometry=GEOMETRY)) as writer,
    ):
        for number in range(3):
            layers = samples.layers(number, GEOMETRY, [range(10)])
            samples.commit(writer, spans=samples.spans(number, 9), layers=layers)
    command = [sys.executable, "-c", COUNT, str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kernel, size, blocks, counted, files, runs = map(int, done.stdout.split())
    assert kernel == size == 7 * BLOCK
    assert (blocks, counted) == (8, 8 * BLOCK)
    assert (files, runs) == (1 + 3, 1 + 4)  # 0-1, 7 | 12-14 (rows 2-4) | 29
