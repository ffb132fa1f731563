"""Progress: bars on a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from streamkv_cli.wording import escaped, time_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_WIDEST_BAR = 40
_CLOCK = 15
_DETAILS = 46


class ProgressLine(Protocol):
    """Where progress is shown."""

    def update(self, done: float, details: str) -> None:
        """Show that `done` seconds of video are through, with details behind."""
        ...


class Lines:
    """One line every few seconds, for logs.

    Args:
        message: takes each line.
        title: what goes on.
        total: seconds of video in all, None if unknown.
    """

    every = 5.0

    def __init__(self, message: Callable[[str], None], title: str, total: float | None) -> None:
        self._message = message
        self._title = title
        self._total = total
        self._next = time.monotonic() + self.every

    def update(self, done: float, details: str) -> None:
        """A line, if the last one is long enough ago."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.every
        of = f" of {time_text(self._total)}" if self._total else ""
        self._message(f"{self._title}: {time_text(done)}{of}, {details}")


class Bars:
    """Bars of one live display; the overall one stays above the others.

    Args:
        progress: rich's display.
        title: most characters of a bar's title.
    """

    def __init__(self, progress: "Progress", title: int) -> None:
        self._progress = progress
        self._title = title
        self._overall: TaskID | None = None

    def overall(self, done: int, total: int, details: str) -> None:
        """Show that `done` of `total` things are through."""
        if self._overall is None:
            self._overall = self._progress.add_task("all", total=total, details="", clock="")
        clock = f"{done} / {total}"
        self._progress.update(
            self._overall, completed=done, total=total, clock=clock, details=details
        )

    def line(self, title: str, total: float | None) -> Iterator[ProgressLine]:
        """A bar for as long as the iterator is not closed."""
        shown = _shortened(escaped(title), self._title)
        task = self._progress.add_task(shown, total=total, details="", clock="")
        try:
            yield _Bar(self._progress, task, total)
        finally:
            self._progress.remove_task(task)


class _Bar:
    def __init__(self, progress: "Progress", task: "TaskID", total: float | None) -> None:
        self._progress = progress
        self._task = task
        self._total = total

    def update(self, done: float, details: str) -> None:
        clock = time_text(done) + (f" / {time_text(self._total)}" if self._total else "")
        self._progress.update(self._task, completed=done, details=details, clock=clock)


@contextmanager
def bars() -> Iterator[Bars]:
    """A live display on stderr that fits the terminal: where it is narrow, details go first."""
    import rich.console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column

    console = rich.console.Console(stderr=True)
    title = max(12, min(32, console.width // 4))
    left = console.width - title - _CLOCK - 2
    whole = Column(no_wrap=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False, table_column=whole),
        BarColumn(max(4, min(_WIDEST_BAR, left - _DETAILS if left > _DETAILS + 8 else left))),
        TextColumn("{task.fields[clock]}", markup=False, table_column=whole),
    ]
    if left > _DETAILS + 8:
        columns.append(TextColumn("{task.fields[details]}", markup=False, table_column=whole))
    with Progress(
        *columns,
        console=console,
        transient=True,
        # Data goes where it was sent; only on the same terminal must the bars step aside for it.
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    ) as progress:
        yield Bars(progress, title)


def _shortened(text: str, most: int) -> str:
    """The beginning and the end of a long name."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}\u2026{text[len(text) - half :]}"
