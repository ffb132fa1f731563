"""`--from`, `--to` and `--at`: which seconds of the videos count."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamkv_cli.commands.times import seconds
from streamkv_cli.errors import UsageError

if TYPE_CHECKING:
    from streamkv_cli.pipeline.bounds import Bounds

_WHEN = "Which seconds"
AtOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="As of this moment: nothing shown later has any influence.",
        show_default=False,
        rich_help_panel=_WHEN,
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Only what is shown from here on; seconds, mm:ss or hh:mm:ss.",
        show_default=False,
        rich_help_panel=_WHEN,
    ),
]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="TIME",
        help="Only what is shown before.",
        show_default=False,
        rich_help_panel=_WHEN,
    ),
]


Moments = tuple[float | None, float | None, float | None]
"""At, start and end in seconds; None where there is no such bound."""


def moments(at: object, start: object, end: object) -> Moments:
    """The seconds that flags, or the fields of a question, name.

    Raises:
        UsageError: one is no time, or they leave nothing between them.
    """
    first = None if start is None else seconds(start, "--from")
    last = None if end is None else seconds(end, "--to")
    now = None if at is None else seconds(at, "--at")
    for name, stop in (("--to", last), ("--at", now)):
        if first is not None and stop is not None and stop <= first:
            raise UsageError(f"{name} {stop:g} s is not after --from {first:g} s", "swap them")
    return now, first, last


def bounds_of(at: object, start: object, end: object) -> "Bounds":
    """The bounds that flags, or the fields of a question, ask for; as `moments`."""
    from streamkv_cli.pipeline.bounds import Bounds

    now, first, last = moments(at, start, end)
    return Bounds(start=first, end=last, at=now)
