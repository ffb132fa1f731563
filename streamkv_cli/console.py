"""The only writer to stdout and stderr: data there, messages here.

stdout carries what a pipe wants: the answer, a table, or JSON Lines with a `type` field. Everything
else is a message on stderr: progress, summaries, warnings, errors.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from streamkv_cli.progress import Lines, ProgressLine
from streamkv_cli.wording import (
    bytes_text,
    count,
    escaped,
    hourly,
    span_text,
    time_text,
)

if TYPE_CHECKING:
    from streamkv_cli.progress import Bars


__all__ = [
    "Console",
    "ProgressLine",
    "bytes_text",
    "count",
    "escaped",
    "hourly",
    "span_text",
    "time_text",
]


class Console:
    """Output of one command.

    Args:
        json_lines: data as JSON Lines instead of text.
        quiet: no messages but warnings and errors.
        verbose: details as well.
        only_page: nothing but the page goes to stdout.

    Attributes:
        on_record: told of every record, whether JSON is wanted or not.
    """

    def __init__(
        self,
        *,
        json_lines: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        only_page: bool = False,
    ) -> None:
        self.json_lines = json_lines
        self.quiet = quiet
        self.verbose = verbose
        self.only_page = only_page
        self.on_record: Callable[[str, dict[str, Any]], None] | None = None
        self._bars: Bars | None = None

    def page(self, text: str) -> None:
        """A page as the one thing on stdout."""
        _write(sys.stdout, text)

    def text(self, text: str, end: str = "\n") -> None:
        """Data for people and pipes, as it is."""
        if not self.only_page:
            _write(sys.stdout, text + end)

    def record(self, type_: str, **values: Any) -> None:
        """One JSON line, where JSON is wanted."""
        if self.on_record is not None:
            self.on_record(type_, values)
        if self.json_lines:
            line = json.dumps({"type": type_, **values}, ensure_ascii=False, allow_nan=False)
            _write(sys.stdout, line + "\n")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
        """Data in columns: aligned for a terminal, tab-separated for a pipe.

        Args:
            right: names of columns aligned right, separated by blanks.
        """
        if self.json_lines or self.only_page:
            return
        rows = [[escaped(cell) for cell in row] for row in rows]
        if sys.stdout is None or not sys.stdout.isatty():
            for row in (header, *rows):
                self.text("\t".join(row))
            return
        import rich.console
        import rich.table

        table = rich.table.Table(
            box=None, pad_edge=False, header_style="" if os.environ.get("NO_COLOR") else "bold"
        )
        for name in header:
            table.add_column(name, justify="right" if name in right.split() else "left")
        for row in rows:
            table.add_row(*row)
        rich.console.Console(highlight=False, markup=False).print(table)

    def check(self, status: str, name: str, detail: str, remedy: str) -> None:
        """One line of a list of checks, as data."""
        colour = {"ok": "32", "warn": "33", "fail": "31"}[status]
        word = _coloured(status, colour, sys.stdout) + " " * (4 - len(status))
        self.text(f"{word}  {name:<8}  {escaped(detail)}{f'; {remedy}' if remedy else ''}")

    def message(self, text: str) -> None:
        """Something worth knowing, unless quiet."""
        if not self.quiet:
            _write(sys.stderr, escaped(text, keep="\n") + "\n")

    def detail(self, text: str) -> None:
        """Something only `-v` shows."""
        if self.verbose:
            _write(sys.stderr, escaped(text) + "\n")

    def warning(self, text: str) -> None:
        """Something that may matter for the result."""
        _write(sys.stderr, f"{_coloured('warning', '33', sys.stderr)}: {escaped(text)}\n")

    def error(self, text: str) -> None:
        """What went wrong, one line."""
        _write(sys.stderr, f"{_coloured('error', '31', sys.stderr)}: {escaped(text)}\n")

    def error_detail(self, text: str) -> None:
        """More on the error before: one of the things that went wrong."""
        _write(sys.stderr, f"  {escaped(text)}\n")

    @contextmanager
    def progress(self, title: str, total: float | None) -> Iterator["ProgressLine"]:
        """A bar on a terminal, a line every few seconds elsewhere, nothing when quiet."""
        if not self._shows_bars:
            yield Lines(self.message, title, total)
            return
        with self._display() as bars:
            yield from bars.line(title, total)

    @contextmanager
    def overall(self) -> Iterator[Callable[[int, int, str], None]]:
        """A bar above the others for so many of so many done, with a word on them."""
        if not self._shows_bars:
            yield lambda done, total, details: None
            return
        with self._display() as bars:
            yield bars.overall

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:
        """Say what is waited for, on a terminal."""
        if not self._shows_bars:
            yield
            return
        with self.progress(title, None):
            yield

    @property
    def _shows_bars(self) -> bool:
        return not self.quiet and sys.stderr is not None and sys.stderr.isatty()

    @contextmanager
    def _display(self) -> Iterator["Bars"]:
        """The one live display of a command."""
        if self._bars is not None:
            yield self._bars
            return
        from streamkv_cli.progress import bars

        with bars() as self._bars:
            try:
                yield self._bars
            finally:
                self._bars = None


def _write(stream: IO[str] | None, text: str) -> None:
    if stream is None:  # closed by whoever started us, as `>&-` does
        return
    stream.write(text)
    stream.flush()


def _coloured(word: str, colour: str, stream: IO[str] | None) -> str:
    # Set and not empty, as https://no-color.org has it.
    plain = os.environ.get("NO_COLOR") or stream is None or not stream.isatty()
    return word if plain else f"\x1b[1;{colour}m{word}\x1b[0m"
