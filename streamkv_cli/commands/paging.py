"""What `--html` means: where a page goes, and what is said of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from streamkv_cli.console import Console, bytes_text
from streamkv_cli.errors import UsageError

STDOUT = "-"


def console_for(html: str | None, *, json: bool, quiet: bool, verbose: bool) -> Console:
    """The console of a command that may write a page; refuses a place where none can be written.

    Raises:
        UsageError: the page and JSON Lines would both go to stdout.
        DiskError: there can be no such file.
    """
    if html is not None:
        if html == STDOUT and json:
            raise UsageError("--html - and --json both want stdout", "give the page a file")
        from streamkv_cli.pages.output import check_place

        check_place(html)
    return Console(json_lines=json, quiet=quiet, verbose=verbose, only_page=html == STDOUT)


class AnswersPage:
    """Gathers the answers that a console is told of, and writes their page when all are there.

    Args:
        console: records of type `answer` and `failed` come by here.
        html: where the page goes.
        store: with their pictures.

    Raises:
        DiskError: when it is left, the page cannot be written.
    """

    def __init__(self, console: Console, html: str, store: Path) -> None:
        self._console = console
        self._html = html
        self._store = store
        self._records: list[dict[str, Any]] = []

    def __enter__(self) -> "AnswersPage":
        """The object itself."""
        self._console.on_record = self._take
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the page, also where some of several questions failed."""
        self._console.on_record = None
        if self._records and (kind is None or issubclass(kind, typer.Exit)):
            self._write()

    def _take(self, type_: str, values: dict[str, Any]) -> None:
        if type_ in ("answer", "failed") and "question" in values:
            self._records.append(values)

    def _write(self) -> None:
        from store import Store
        from streamkv_cli.pages.answers_page import answered, answers_page
        from streamkv_cli.pages.pictures import Pictures

        with Store.open(self._store) as opened:
            pictures = Pictures(opened)
            page = answers_page([answered(values) for values in self._records], pictures)
        hand_over(self._console, self._html, page, pictures.unread)


def hand_over(console: Console, html: str, page: str, unread: Sequence[str]) -> None:
    """Write a page where it shall be, and tell what is not in it.

    Raises:
        DiskError: it cannot be written.
    """
    if unread:
        more = f", and {len(unread) - 1} more" if len(unread) > 1 else ""
        console.warning(f"a picture is missing: {unread[0]}{more}")
    if html == STDOUT:
        console.page(page)
        return
    from streamkv_cli.pages.output import write_page

    console.message(f"wrote {html} ({bytes_text(write_page(html, page))})")
