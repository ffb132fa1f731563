"""The only writer to stdout and stderr: data there, messages here.

stdout carries what a pipe wants: the answer, a table, or JSON Lines with a `type` field. Everything
else is a message on stderr: progress, summaries, warnings, errors.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress


class Console:
    """Output of one command.

    Args:
        json_lines: data as JSON Lines instead of text.
        quiet: no messages but warnings and errors.
        verbose: details as well.
    """

    def __init__(
        self, *, json_lines: bool = False, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.json_lines = json_lines
        self.quiet = quiet
        self.verbose = verbose

    def text(self, text: str, end: str = "\n") -> None:
        """Data for people and pipes, as it is."""
        _write(sys.stdout, text + end)

    def record(self, type_: str, **values: Any) -> None:
        """One JSON line, where JSON is wanted."""
        if self.json_lines:
            line = json.dumps({"type": type_, **values}, ensure_ascii=False, allow_nan=False)
            _write(sys.stdout, line + "\n")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
        """Data in columns: aligned for a terminal, tab-separated for a pipe.

        Args:
            right: names of columns aligned right, separated by blanks.
        """
        if self.json_lines:
            return
        rows = [[escaped(cell) for cell in row] for row in rows]
        if sys.stdout is None or not sys.stdout.isatty():
            for row in (header, *rows):
                self.text("\t".join(row))
            return
        import rich.console
        import rich.table

        table = rich.table.Table(
            box=None, pad_edge=False, header_style="" if "NO_COLOR" in os.environ else "bold"
        )
        for name in header:
            table.add_column(name, justify="right" if name in right.split() else "left")
        for row in rows:
            table.add_row(*row)
        rich.console.Console(highlight=False, markup=False).print(table)

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
        _write(sys.stderr, f"{_coloured('warning', '33')}: {escaped(text)}\n")

    def error(self, text: str) -> None:
        """What went wrong, one line."""
        _write(sys.stderr, f"{_coloured('error', '31')}: {escaped(text)}\n")

    @contextmanager
    def progress(self, title: str, total: float | None) -> Iterator["ProgressLine"]:
        """A bar on a terminal, a line every few seconds elsewhere, nothing when quiet."""
        if self.quiet or sys.stderr is None or not sys.stderr.isatty():
            yield _Lines(self, title, total)
            return
        with _bar() as bar:
            yield _Bar(bar, escaped(title), total)


class ProgressLine(Protocol):
    """Where progress is shown."""

    def update(self, done: float, details: str) -> None:
        """Show that `done` seconds of video are through, with details behind."""
        ...


class _Bar:
    def __init__(self, bar: "Progress", title: str, total: float | None) -> None:
        self._bar = bar
        self._task = bar.add_task(title, total=total, details="", clock="")
        self._total = total

    def update(self, done: float, details: str) -> None:
        clock = time_text(done) + (f" / {time_text(self._total)}" if self._total else "")
        self._bar.update(self._task, completed=done, details=details, clock=clock)


class _Lines:
    """One line every few seconds, for logs."""

    every = 5.0

    def __init__(self, console: Console, title: str, total: float | None) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._next = time.monotonic() + self.every

    def update(self, done: float, details: str) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.every
        of = f" of {time_text(self._total)}" if self._total else ""
        self._console.message(f"{self._title}: {time_text(done)}{of}, {details}")


@contextmanager
def _bar() -> Iterator["Progress"]:
    import rich.console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[clock]}"),
        TextColumn("{task.fields[details]}"),
    )
    console = rich.console.Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        yield bar


def escaped(text: str, keep: str = "") -> str:
    """Text with control characters made visible: a file name may hold any of them."""
    return "".join(c if c in keep or c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _write(stream: IO[str] | None, text: str) -> None:
    if stream is None:  # closed by whoever started us, as `>&-` does
        return
    stream.write(text)
    stream.flush()


def _coloured(word: str, colour: str) -> str:
    plain = "NO_COLOR" in os.environ or sys.stderr is None or not sys.stderr.isatty()
    return word if plain else f"\x1b[1;{colour}m{word}\x1b[0m"


def time_text(seconds: float | None) -> str:
    """Seconds as m:ss or h:mm:ss; a dash for unknown."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    clock = f"{minutes}:{whole % 60:02}"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else clock


def hourly(count: int, seconds: float) -> float:
    """Bytes an hour of video; 0 where there is no video to speak of."""
    return count / seconds * 3600 if seconds > 0 else 0.0


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 segment, 2 segments."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def span_text(start: float, end: float) -> str:
    """A stretch of video as m:ss-m:ss, with tenths where whole seconds would hide it."""
    if start == int(start) and end == int(end):
        return f"{time_text(start)}-{time_text(end)}"
    return "-".join(f"{time_text(t)}.{int(t * 10 + 1e-6) % 10}" for t in (start, end))


def bytes_text(count: float) -> str:
    """Bytes in binary units, three significant digits."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1000 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"
