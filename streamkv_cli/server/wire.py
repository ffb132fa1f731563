"""What a server tells: what a command would have told its console, as events.

An event is a name and values, named like `Console`'s methods. They are written as server-sent
events; whoever gets them tells its own console the same.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from streamkv_cli.console import Console, ProgressLine
from streamkv_cli.progress import Lines

Event = tuple[str, dict[str, Any]]
"""Name, values."""

TOLD = {"text", "record", "table", "message", "detail", "warning", "error", "error_detail"}
"""Events that are a console's; "done" is the last one, with the exit code."""


class RemoteConsole(Console):
    """Hands on what is told, whole: what is shown of it is decided where it is shown.

    Args:
        emit: takes each event.
        named: what whoever asks calls things that have other names here.
        json_lines: data as JSON Lines are wanted, so no answer has to be told word by word.
    """

    def __init__(
        self, emit: Callable[[Event], None], named: dict[str, str], *, json_lines: bool
    ) -> None:
        super().__init__(json_lines=json_lines)
        self._emit = emit
        self._named = {here: there for here, there in named.items() if here != there}

    def text(self, text: str, end: str = "\n") -> None:
        """As `Console.text`."""
        self._emit(("text", {"text": text, "end": end}))

    def record(self, type_: str, **values: Any) -> None:
        """As `Console.record`, whether JSON is wanted or not."""
        self._emit(("record", {"type": type_, **values}))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
        """As `Console.table`."""
        rows = [list(row) for row in rows]
        self._emit(("table", {"header": list(header), "rows": rows, "right": right}))

    def message(self, text: str) -> None:
        """As `Console.message`."""
        self._say("message", text)

    def detail(self, text: str) -> None:
        """As `Console.detail`."""
        self._say("detail", text)

    def warning(self, text: str) -> None:
        """As `Console.warning`."""
        self._say("warning", text)

    def error(self, text: str) -> None:
        """As `Console.error`."""
        self._say("error", text)

    def error_detail(self, text: str) -> None:
        """As `Console.error_detail`."""
        self._say("error_detail", text)

    @contextmanager
    def progress(self, title: str, total: float | None) -> Iterator[ProgressLine]:
        """Nothing: it would come too late to be of use."""
        yield Lines(lambda _: None, title, total)

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:
        """Nothing, as `progress`."""
        yield

    def _say(self, name: str, text: str) -> None:
        for here, there in self._named.items():
            text = text.replace(here, there)
        self._emit((name, {"text": text}))


def replay(event: Event, console: Console) -> None:
    """Tell a console what a server told; other events are passed over."""
    name, values = event
    if name == "record":
        console.record(values["type"], **{k: v for k, v in values.items() if k != "type"})
    elif name in TOLD:
        getattr(console, name)(**values)


def event_bytes(event: Event) -> bytes:
    """As a server-sent event. File names that are no valid text survive: JSON escapes them."""
    return f"event: {event[0]}\ndata: {json.dumps(event[1])}\n\n".encode()


def read_events(stream: BinaryIO) -> Iterator[Event]:
    """Events up to "done"; fewer where the stream ends before.

    Raises:
        ValueError: what comes is no such event.
    """
    name, data = "", ""
    for raw in iter(stream.readline, b""):
        line = raw.decode().rstrip("\r\n")
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data += value
        elif not line and name:
            yield name, json.loads(data)
            if name == "done":
                return
            name, data = "", ""
