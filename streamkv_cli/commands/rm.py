"""`streamkv rm`: forget videos."""

from typing import Annotated

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import JsonOption, QuietOption, StoreOption
from streamkv_cli.commands.select import select_videos
from streamkv_cli.console import Console, bytes_text

EXAMPLE = "Example: streamkv rm talk.mp4"


@guarded
def rm(
    videos: Annotated[list[str], typer.Argument(help="Names, globs or ids.")],
    store: StoreOption,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove videos from the store: from the index first, then their files."""
    from store import Store

    console = Console(json_lines=json, quiet=quiet)
    with Store.open(store, write=True) as opened:
        for record, state in select_videos(opened, videos):
            opened.remove(record.video_id)
            console.record("removed", id=record.video_id, name=record.name, bytes=state.bytes)
            console.message(f"removed {record.name} ({bytes_text(state.bytes)})")
