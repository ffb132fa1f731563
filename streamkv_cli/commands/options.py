"""Flags that several commands share, so that they are called and explained alike."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from streamkv_cli import settings

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        "-s",
        envvar="STREAMKV_STORE",
        help="Folder of the store.",
        default_factory=settings.default_store,
        show_default="in the user's data folder",
    ),
]


def complete_videos(context: typer.Context, incomplete: str) -> list[str]:
    """Names in the store that begin with what was typed; none where there is no store to ask."""
    from store import Store, StoreError

    try:
        with Store.open(context.params.get("store") or settings.default_store()) as store:
            names = {record.name for record, _ in store.videos()}
    except (StoreError, OSError):
        return []
    return sorted(name for name in names if name.startswith(incomplete))


_WHICH = "Which videos"
VideosArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names, globs or ids; all without one.",
        show_default=False,
        autocompletion=complete_videos,
    ),
]
VideoOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Name, glob or id of a video; all without one.",
        show_default=False,
        autocompletion=complete_videos,
        rich_help_panel=_WHICH,
    ),
]
TagFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="KEY=VALUE",
        help="Only videos with this tag; the value may be a glob.",
        show_default=False,
        rich_help_panel=_WHICH,
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        help="Only videos of this date or later: 2026-05-01, or 12h, 7d, 2w ago.",
        show_default=False,
        rich_help_panel=_WHICH,
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        help="Only videos of this date or earlier.",
        show_default=False,
        rich_help_panel=_WHICH,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No messages but warnings and errors.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Tell details.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        envvar="STREAMKV_DEVICE",
        help="auto, cpu, mps, cuda, cuda:N, or all GPUs.",
        rich_help_panel="Model",
    ),
]
DtypeOption = Annotated[
    Literal["auto", "float32", "float16", "bfloat16"],
    typer.Option(envvar="STREAMKV_DTYPE", help="Type computed in.", rich_help_panel="Model"),
]
HtmlOption = Annotated[
    str | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write a page with pictures, for any browser; - is stdout.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="The model, where it has moved.",
        rich_help_panel="Model",
        show_default="as ingested",
    ),
]
NoServerOption = Annotated[
    bool,
    typer.Option(
        "--no-server",
        help="Load the model here, even where streamkv serve has it.",
        rich_help_panel="Model",
    ),
]
RevisionOption = Annotated[
    str | None, typer.Option(help="Revision of a hub model.", rich_help_panel="Model")
]
PresetName = Literal["default", "paper", "official"]
