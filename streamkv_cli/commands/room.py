"""`--max-size`: the least recently asked videos make room."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from streamkv_cli.console import Console, bytes_text
from streamkv_cli.errors import UsageError

if TYPE_CHECKING:
    from store import Store

MaxSizeOption = Annotated[
    str | None,
    typer.Option(
        envvar="STREAMKV_MAX_SIZE",
        help="Largest store, as in 50GB: the least recently asked videos make room.",
        show_default="no limit",
    ),
]
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def size_of(text: str | None) -> int | None:
    """Bytes of a size in words: 50GB, 1.5 TiB, 800m; None for None.

    Raises:
        UsageError: it is no size.
    """
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"--max-size {text} is no size", "write it like 50GB or 800MiB")
    step = 1024 if found[3] else 1000
    return int(float(found[1]) * step ** " kmgt".index(found[2].lower() or " "))


class Room:
    """Keeps a store to a size; what this command ingested itself always stays.

    Args:
        console: told of every video that goes.
        most: bytes; None for no limit.
    """

    def __init__(self, console: Console, most: int | None) -> None:
        self._console = console
        self._most = most
        self._spared: set[str] = set()

    def make(self, store: "Store", ingested: str | None = None) -> None:
        """Remove videos until the store fits, if that can be; `ingested` is spared from now on."""
        if self._most is None:
            return
        from store import make_room

        if ingested is not None:
            self._spared.add(ingested)
        for record, state in make_room(store, self._most, self._spared):
            self._console.record("evicted", id=record.video_id, name=record.name, bytes=state.bytes)
            self._console.warning(
                f"removed {record.name} ({bytes_text(state.bytes)}), the least recently asked "
                "video, to keep to --max-size"
            )
        total = sum(state.bytes for _, state in store.videos())
        if total > self._most:
            self._console.warning(
                f"the store takes {bytes_text(total)}, more than --max-size "
                f"{bytes_text(self._most)}: what is left was just ingested or is being written"
            )
