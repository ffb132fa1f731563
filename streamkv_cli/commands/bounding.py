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


def bounds_of(at: object, start: object, end: object) -> "Bounds":
    """The bounds that flags, or the fields of a question, ask for.

    Raises:
        UsageError: one is no time, or they leave nothing between them.
    """
    from streamkv_cli.pipeline.bounds import Bounds

    found = Bounds(
        start=None if start is None else seconds(start, "--from"),
        end=None if end is None else seconds(end, "--to"),
        at=None if at is None else seconds(at, "--at"),
    )
    for name, stop in (("--to", found.end), ("--at", found.at)):
        if found.start is not None and stop is not None and stop <= found.start:
            raise UsageError(
                f"{name} {stop:g} s is not after --from {found.start:g} s", "swap them"
            )
    return found
