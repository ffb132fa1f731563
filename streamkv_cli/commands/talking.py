"""A talk with a model: what is typed, what was said, and how it ends."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any

import typer

from streamkv_cli.commands.backend import Answerer
from streamkv_cli.commands.guard import foreseen
from streamkv_cli.commands.requests import AskRequest
from streamkv_cli.console import Console, count
from streamkv_cli.errors import EXIT_INPUT_FAILED, EXIT_INTERRUPTED, UsageError

PROMPT = "> "
HELP = "/new forgets what was said, /exit or Ctrl-D ends, Ctrl-C stops an answer"


class ChatConsole(Console):
    """A console that warns of each thing once: the same videos are asked again and again."""

    def __init__(self, **how: bool) -> None:
        super().__init__(**how)
        self._warned: set[str] = set()

    def warning(self, text: str) -> None:
        """As `Console.warning`, unless it was said before."""
        if text not in self._warned:
            self._warned.add(text)
            super().warning(text)


class Talk:
    """Questions one after the other, each with the answers before it.

    Args:
        request: what is alike for all questions.
        console: where answers go; its records are listened to.
        answerer: answers them.
        alone: each question by itself, as `ask` does it.
    """

    def __init__(
        self, request: AskRequest, console: Console, answerer: Answerer, *, alone: bool
    ) -> None:
        self._request = request
        self._console = console
        self._answerer = answerer
        self._alone = alone
        self._history: list[dict[str, Any]] = []
        self._asked = self._failed = 0
        console.on_record = self._take

    def run(self) -> None:
        """Until there is no more to answer.

        Raises:
            typer.Exit: of questions from a pipe, some failed; or it was terminated.
        """
        typed = sys.stdin is not None and sys.stdin.isatty()
        with _signals():
            for line in _typed(self._console) if typed else _piped():
                if line in ("/exit", "/bye", "/quit"):
                    break
                self._do(line)
        if self._failed and not typed:
            failed = f"{self._failed} of {count(self._asked, 'question')} failed"
            self._console.error(failed)
            raise typer.Exit(EXIT_INPUT_FAILED)

    def _do(self, line: str) -> None:
        if line == "/new":
            self._history.clear()
            self._console.message("what was said is forgotten")
        elif line.startswith("/"):
            self._console.message(HELP)
        elif line:
            self._asked += 1
            self._failed += not self._ask(line)

    def _ask(self, question: str) -> bool:
        """Whether a question was answered, or given up by whoever asked it."""
        request = replace(self._request, question=question, history=self._history or None)
        try:
            return self._answerer.ask(request, self._console) == 0
        except KeyboardInterrupt:
            self._console.message("\n(stopped)")
            return True
        except Exception as error:
            found = foreseen(error)
            if found is None:
                raise
            self._console.error(found[0])
            return False

    def _take(self, type_: str, values: dict[str, Any]) -> None:
        if type_ == "answer" and not self._alone:
            kept = ("question", "answer", "evidence")
            self._history.append({name: values[name] for name in kept})


def _typed(console: Console) -> Iterator[str]:
    """Lines typed at a prompt."""
    with suppress(ImportError):
        import readline  # noqa: F401 - input() edits lines with it

    console.message(HELP)
    while True:
        try:
            yield input(PROMPT).strip()
        except KeyboardInterrupt:
            console.message(f"\n{HELP}")
        except EOFError:
            console.message("")
            return
        except UnicodeDecodeError:
            raise _no_text() from None


def _piped() -> Iterator[str]:
    """Lines of a pipe or a file, each as soon as it is there."""
    stream = getattr(sys.stdin, "buffer", None)
    while stream is not None:
        try:
            raw = stream.readline()
        except KeyboardInterrupt:  # there is no answer to stop
            os.write(2, b"\ninterrupted\n")
            raise
        if not raw:
            return
        try:
            yield raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise _no_text() from None


def _no_text() -> UsageError:
    return UsageError("a question is not valid text", "write it in UTF-8")


@contextmanager
def _signals() -> Iterator[None]:
    """Ctrl-C is for the answer; only SIGTERM ends the talk."""

    def end(_number: int, _frame: FrameType | None) -> None:
        os.write(2, b"\ninterrupted\n")
        raise typer.Exit(EXIT_INTERRUPTED)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    term = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, term)
