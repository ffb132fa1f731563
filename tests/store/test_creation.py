"""Several processes that meet a store which is not there yet."""

import subprocess
import sys
from pathlib import Path


def test_processes_that_create_one_store_together_all_get_it(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom store import Store\n"
        "with Store.open(sys.argv[1], create=True) as s:\n"
        "    time.sleep(0.2)\n    print(len(s.videos()))"
    )
    path = str(tmp_path / "store")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    results = [(*p.communicate(timeout=60), p.returncode) for p in processes]
    assert results == [("0\n", "", 0)] * 6
