"""Start a server in the background, and wait until it is ready."""

import os
import subprocess
import sys
import time
from pathlib import Path

import typer
from platformdirs import user_log_path

from streamkv_cli.console import Console
from streamkv_cli.errors import DiskError
from streamkv_cli.server.client import NoAnswerError, call
from streamkv_cli.server.place import places

_LARGEST_LOG = 1 << 20


def start(console: Console, store: Path, words: list[str], token: str | None) -> None:
    """Start `streamkv serve` with these words and tell where it is.

    Args:
        token: handed on in the environment, where other users do not see it.

    Raises:
        typer.Exit: it ended before it was ready; with its exit code, its error told.
        DiskError: its log cannot be written.
    """
    log = _log_file()
    begun = log.stat().st_size if log.exists() else 0
    environment = dict(os.environ)
    if token is not None:
        environment["STREAMKV_TOKEN"] = token
    try:
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "streamkv_cli", "serve", "--no-detach", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
            )
    except OSError as error:
        raise DiskError(f"{log}: {error.strerror}", "check that path") from None
    try:
        with console.waiting("starting the server"):
            facts = _wait(child, store)
    except BaseException:
        child.terminate()
        raise
    if facts is None:
        _tell_failure(console, log, begun)
        raise typer.Exit(child.returncode or 1)
    console.record("serving", **facts, log=str(log))
    console.message(
        f"serving {facts['model']} for {facts['store']} at {facts['socket']}, "
        f"process {child.pid}, log {log}"
    )
    # It lives on: this process does not wait for it.
    child.returncode = 0


def _wait(child: "subprocess.Popen[bytes]", store: Path) -> dict[str, object] | None:
    """What the server says of itself once it is ready; None where it ends before."""
    while child.poll() is None:
        for place in places(store):
            if place.facts().get("pid") == child.pid:
                try:
                    return call(place, "GET", "/health")
                except NoAnswerError:
                    pass
        time.sleep(0.05)
    return None


def _tell_failure(console: Console, log: Path, begun: int) -> None:
    """Its own line of what went wrong, and the way to more."""
    with log.open("rb") as file:
        file.seek(begun)
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    console.error(errors[-1] if errors else f"the server ended before it was ready; see {log}")


def _log_file() -> Path:
    """The file that servers of this user write to; one that has grown large is put aside."""
    log = user_log_path("streamkv") / "serve.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LARGEST_LOG:
            log.replace(log.with_suffix(".log.old"))
    except OSError as error:
        raise DiskError(f"{log}: {error.strerror}", "check that path") from None
    return log
