"""Readers, writers and a remover at once: whole segments, right blocks, nobody dies."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from store import Store, check
from tests.faults.test_every_call import ROOT


@pytest.mark.parametrize("readers", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_readers_beside_writers_and_a_remover(tmp_path: Path, readers: int) -> None:
    root = tmp_path / "store"
    count = 25 * readers
    command = [sys.executable, "-m", "tests.faults.crowd", str(root), str(readers), str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    *met, codes = done.stdout.splitlines()
    assert codes == f"codes {[0] * (readers + 3)}"
    assert len(met) == readers
    assert all(ast.literal_eval(line)["read"] > 0 for line in met)
    assert (root / "index.lmdb" / "data.mdb").stat().st_size > 1 << 19  # the map did grow
    with Store.open(root) as store:
        assert sorted(state.segments for _, state in store.videos()) == [count, count]
    assert list(check(root, read_data=True)) == []
