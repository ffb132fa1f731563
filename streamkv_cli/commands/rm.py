"""`streamkv rm`: forget videos."""

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    JsonOption,
    QuietOption,
    SinceOption,
    StoreOption,
    TagFilter,
    UntilOption,
    VideosArgument,
)
from streamkv_cli.commands.select import select_videos
from streamkv_cli.console import Console, bytes_text
from streamkv_cli.errors import UsageError

EXAMPLE = "Example: streamkv rm talk.mp4"


@guarded
def rm(
    store: StoreOption,
    videos: VideosArgument = None,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove videos from the store: from the index first, then their files."""
    from store import Store

    if not (videos or tag or since or until):
        raise UsageError(
            "nothing says which videos to remove", "name them, or all of them with '*'"
        )
    console = Console(json_lines=json, quiet=quiet)
    with Store.open(store, write=True) as opened:
        for record, state in select_videos(opened, videos, tags=tag, since=since, until=until):
            opened.remove(record.video_id)
            console.record("removed", id=record.video_id, name=record.name, bytes=state.bytes)
            console.message(f"removed {record.name} ({bytes_text(state.bytes)})")
