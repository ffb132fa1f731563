"""Servers for tests: real processes, in a folder of their own, ended whatever happens."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streamkv_cli.server.client import call
from streamkv_cli.server.place import Place

PATIENCE = 120.0


def wait_until(true: Callable[[], object], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


@dataclass
class Host:
    """A user with servers.

    Attributes:
        folder: where commands run; the store is "kv" in it.
        environment: of all commands.
        port: of the server's HTTP, if it has one.
    """

    folder: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    port: int = 0

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "streamkv_cli", *map(str, words)]

    def run(self, *words: object, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=self.folder,
            env=self.environment | env,
        )

    def here(self, *words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """As `run`, but in this process, and so without a server: torch is imported once."""
        from streamkv_cli.app import app

        command = [*map(str, words), "--no-server"]
        out, err = io.StringIO(), io.StringIO()
        source = io.TextIOWrapper(io.BytesIO(stdin.encode()))
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(self.folder)
            for name, value in self.environment.items():
                patched.setenv(name, value)
            patched.setattr("sys.stdin", source)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    app(command)
                    code = 0
                except SystemExit as ended:
                    code = int(ended.code or 0)
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    def start(self, *words: object, **env: str) -> subprocess.Popen[str]:
        """A process that is ended with the test."""
        process = subprocess.Popen(
            self.command(*words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment | env,
        )
        self.started.append(process)
        return process

    def serve(self, *words: object, **env: str) -> subprocess.Popen[str]:
        """A server that is ready."""
        process = self.start("serve", *words, **env)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("serving "), line + process.stderr.read()
        return process

    def servers(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.run("ps", "--json").stdout.splitlines()]

    def health(self) -> dict[str, Any]:
        (place,) = Path(self.environment["XDG_RUNTIME_DIR"]).glob("*/*.lock")
        return call(Place(place.with_suffix(".sock"), place), "GET", "/health")

    def socket(self) -> Path:
        (found,) = Path(self.environment["XDG_RUNTIME_DIR"]).glob("*/*.sock")
        return found

    def end(self) -> None:
        for process in self.started:
            process.kill()
        for process in self.started:
            process.communicate(timeout=PATIENCE)
        for lock in Path(self.environment["XDG_RUNTIME_DIR"]).glob("*/*.lock"):
            with suppress(ValueError, KeyError, OSError):
                os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)


@contextmanager
def host(folder: Path) -> Iterator[Host]:
    others = {k: v for k, v in os.environ.items() if not k.startswith("STREAMKV_")}
    # A socket's path is short, and pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="skv") as runtime:
        user = Host(
            folder,
            {
                **others,
                "STREAMKV_STORE": "kv",
                "STREAMKV_CONFIG": str(folder / "none.toml"),
                "STREAMKV_DTYPE": "float32",
                "XDG_RUNTIME_DIR": runtime,
                "XDG_STATE_HOME": str(folder / "state"),
            },
        )
        try:
            yield user
        finally:
            user.end()
