"""`streamkv ls`: what is in the store."""

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
from streamkv_cli.commands.select import select_videos, tags_text
from streamkv_cli.console import Console, bytes_text, hourly, time_text

EXAMPLE = "Example: streamkv ls --tag place=harbour --json | jq -r .name"


@guarded
def ls(
    store: StoreOption,
    videos: VideosArgument = None,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the videos of the store, what they cost, and whether they are complete."""
    from store import Store

    console = Console(json_lines=json, quiet=quiet)
    rows = []
    with Store.open(store) as opened:
        for record, state in select_videos(opened, videos, tags=tag, since=since, until=until):
            span = state.end - state.start
            per_hour = hourly(state.bytes, span)
            console.record(
                "video",
                id=record.video_id,
                name=record.name,
                source=record.source,
                complete=state.complete,
                start=state.start,
                end=state.end,
                frames=state.frames,
                segments=state.held,
                missing=list(state.missing),
                bytes=state.bytes,
                codec=record.codec,
                bytes_per_hour=round(per_hour),
                model=record.notes.get("model"),
                created=record.created,
                tags=dict(record.tags),
            )
            rows.append(
                (
                    record.video_id[:8],
                    record.name,
                    time_text(span),
                    str(state.held),
                    bytes_text(state.bytes),
                    bytes_text(per_hour),
                    "complete" if state.complete else "gaps" if state.missing else "partial",
                    tags_text(record.tags),
                )
            )
    header = ("id", "name", "length", "segments", "size", "per hour", "state", "tags")
    shown = len(header) if any(row[-1] for row in rows) else -1
    console.table(header[:shown], [row[:shown] for row in rows], right="length segments size")
