"""What stands around every command: errors become one line and an exit code."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec

import typer

from streamkv_cli.console import Console
from streamkv_cli.errors import (
    EXIT_DISK,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_FOUND,
    EXIT_STORE_REFUSED,
    StreamKVError,
)

P = ParamSpec("P")

_STORE_EXITS = {
    "missing": EXIT_NOTHING_FOUND,
    "refused": EXIT_STORE_REFUSED,
    "damaged": EXIT_STORE_REFUSED,
    "disk": EXIT_DISK,
}


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Run a command so that a foreseeable failure is one line on stderr and never a traceback.

    STREAMKV_DEBUG=1 shows the traceback all the same.
    """

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            _debug()
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read our output has seen enough, as `| head -1` does.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + signal.SIGPIPE) from None
        except typer.Exit:
            raise
        except Exception as error:
            found = foreseen(error)
            if found is None:
                raise
            _debug()
            Console().error(found[0])
            raise typer.Exit(found[1]) from None

    return wrapper


def exit_code(error: Exception) -> int:
    """Exit code of an error of the program or of the store."""
    if isinstance(error, StreamKVError):
        return error.exit_code
    return _STORE_EXITS[getattr(error, "kind", "damaged")]


def foreseen(error: Exception) -> tuple[str, int] | None:
    """One line and the exit code of an error that a user can meet; None for a mistake of ours."""
    if isinstance(error, StreamKVError):
        return str(error), error.exit_code
    from store import StoreError  # here, because most commands that end well never need it

    if isinstance(error, StoreError):
        return str(error), exit_code(error)
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        line = f"{error.strerror or error}{where}; check the disk and its permissions"
        return line, EXIT_DISK
    return None


_note = ""


def on_interrupt(note: str) -> None:
    """What an interrupt shall say about the command that now runs."""
    global _note
    _note = note


def exit_on_sigterm() -> None:
    """SIGTERM ends a command as Ctrl-C does, and both say so at once."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    # Written past Python's buffers: the main program may be in the middle of a write of its own.
    os.write(2, f"\ninterrupted{'; ' if _note else ''}{_note}\n".encode())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise KeyboardInterrupt


def _debug() -> None:
    if os.environ.get("STREAMKV_DEBUG"):
        import traceback

        traceback.print_exc()
