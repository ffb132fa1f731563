"""What tests share: a tiny checkpoint of the real classes, clips, and the command line."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# As the program's own processes: here torch is loaded without its entry point.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

ROOT = Path(__file__).resolve().parent.parent
# Machines that run tests are shared: a slow first call is no bug.
settings.register_profile("streamkv", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("streamkv")


@pytest.fixture(autouse=True, scope="session")
def _no_matrix_units() -> Iterator[None]:
    """The same type on every CPU, in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("streamkv_cli.model.device.cpu_computes_bfloat16", lambda: False)
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random LLaVA-OneVision: 3 layers, 6 heads over 2 KV heads, 4 tokens a frame."""
    from examples.tiny_checkpoint import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), heads=6, hidden=96, kv_heads=2)


@pytest.fixture(scope="session")
def demo_video() -> Path:
    """The tests' own video: 48 s, six scenes of 8 s."""
    return ROOT / "tests" / "data" / "scenes.mp4"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for a store, which the command line uses; no settings of the user's."""
    for name in [name for name in os.environ if name.startswith("STREAMKV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STREAMKV_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("STREAMKV_CONFIG", str(tmp_path / "config.toml"))
    # What is compared with a stock model is compared in float32, whatever this CPU does best.
    monkeypatch.setenv("STREAMKV_DTYPE", "float32")
    return tmp_path / "store"


Streamkv = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def streamkv(store: Path) -> Streamkv:
    """Run the command line in this process, which saves importing torch each time."""
    from streamkv_cli.app import app

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [str(word) for word in words]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app(command)
                code = 0
            except SystemExit as ended:
                code = int(ended.code or 0)
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def process(store: Path) -> Streamkv:
    """Run the command line in a process of its own, as a user does."""

    def run(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streamkv_cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=280, **options)

    return run
