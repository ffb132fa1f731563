"""`streamkv tag`: change the words that videos are found by."""

from typing import Annotated

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    JsonOption,
    QuietOption,
    SinceOption,
    StoreOption,
    TagFilter,
    UntilOption,
    VideoOption,
)
from streamkv_cli.commands.select import parse_tags, select_videos, tags_text
from streamkv_cli.console import Console
from streamkv_cli.errors import UsageError

EXAMPLE = "Example: streamkv tag seen=yes --video 'talk*'"


@guarded
def tag(
    words: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE...", help="Tags to set; KEY= takes one away."),
    ],
    store: StoreOption,
    video: VideoOption = None,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Set and take away tags of stored videos; --tag, as elsewhere, chooses among them."""
    from store import Store

    console = Console(json_lines=json, quiet=quiet)
    changes = parse_tags(words)
    if not (video or tag or since or until):
        raise UsageError("no word on which videos to tag", "name them, or all with --video '*'")
    with Store.open(store, write=True) as opened:
        for record, _ in select_videos(opened, video, tags=tag, since=since, until=until):
            merged = {**record.tags, **changes}
            tags = {key: value for key, value in merged.items() if value}
            if tags != record.tags:
                opened.tag(record.video_id, tags)
            console.record("tagged", id=record.video_id, name=record.name, tags=tags)
            console.message(f"{record.name}: {tags_text(tags) or 'no tags'}")
