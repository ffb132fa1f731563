"""Not slower later: work that can be counted stays under what was recorded.

Times differ from machine to machine and from minute to minute. What is counted here does not:
modules a command imports, calls that the path from question to blocks makes, bytes and reads.
A change that needs more on purpose raises the ceiling in ceilings.json, where a review sees it.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from store import Store
from streamkv_cli.method.presets import preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.pipeline.answer import Asker, Sampling
from streamkv_cli.pipeline.bounds import Bounds
from streamkv_cli.pipeline.catalog import Shelf
from tests.conftest import Streamkv

CEILINGS: dict[str, int] = json.loads(Path(__file__).with_name("ceilings.json").read_text())
QUESTION = "where was the pink square?"


def calls(work: Callable[[], object]) -> int:
    """Python functions called, without those of torch and transformers, which others change."""
    found = 0

    def count(frame: object, event: str, _: object) -> None:
        nonlocal found
        if event == "call":
            name = frame.f_code.co_filename  # type: ignore[attr-defined]
            found += "/streamkv_cli/" in name or "/store/" in name

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def under(found: dict[str, int]) -> None:
    """All of them at or below their ceilings, and no ceiling so high that it holds nothing."""
    above = {name: (n, CEILINGS[name]) for name, n in found.items() if n > CEILINGS[name]}
    assert not above, f"more than was recorded (now, ceiling): {above}"
    loose = {name: (n, CEILINGS[name]) for name, n in found.items() if 2 * n < CEILINGS[name]}
    assert not loose, f"less than half of what was recorded: lower the ceiling {loose}"


@pytest.mark.slow
def test_modules_that_commands_import(store: Path) -> None:
    found = {}
    for name, words in {"--help": ["--help"], "ls": ["ls"], "ask": ["ask", "?"]}.items():
        probe = (
            "import sys\nfrom streamkv_cli.app import app\n"
            f"try:\n    app({words!r})\nexcept SystemExit:\n    pass\n"
            "print(len(sys.modules), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, timeout=280
        )
        found[f"modules of {name}"] = int(done.stderr.split()[-1])
    under(found)


@pytest.mark.slow
def test_from_a_question_to_its_blocks(streamkv: Streamkv, demo_video: Path, store: Path) -> None:
    """Calls that this program makes of its own functions, and what it reads."""
    assert streamkv("ingest", demo_video, "-m", "demo", "--fps", "2", "--keep", "1").returncode == 0
    model = load_model(find_checkpoint("demo"), choose_placement("cpu", "float32"))
    asker = Asker(model, preset("default", blocks=16), Sampling(max_new_tokens=1))
    with Store.open(store) as opened:

        def ask() -> None:
            catalog = Shelf(opened).catalog(opened.videos(), Bounds())
            asker.answer(catalog, QUESTION)

        ask()  # what is done but once
        before = (opened.io.blocks, opened.io.bytes, opened.io.files, opened.io.runs)
        made = calls(ask)
        after = (opened.io.blocks, opened.io.bytes, opened.io.files, opened.io.runs)
    read = [b - a for a, b in zip(before, after, strict=True)]
    names = ("blocks", "bytes", "files opened", "reads")
    under({"calls of ask": made, **{f"{n} of ask": r for n, r in zip(names, read, strict=True)}})


@pytest.mark.slow
def test_what_an_ingest_writes(streamkv: Streamkv, demo_video: Path, store: Path) -> None:
    words = ("ingest", demo_video, "-m", "demo", "--fps", "2", "--no-thumbnails", "--json")
    done = streamkv(*words)
    assert done.returncode == 0, done.stderr
    files = sum(path.stat().st_size for path in store.glob("videos/*/*.safetensors"))
    index = (store / "index.lmdb" / "data.mdb").stat().st_blocks * 512
    under({"bytes of segment files": files, "bytes of the index": index})
