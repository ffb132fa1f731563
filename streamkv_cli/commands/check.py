"""`streamkv check`: look for damage, change nothing."""

from typing import TYPE_CHECKING, Annotated

import typer

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
from streamkv_cli.console import Console, bytes_text, count, escaped
from streamkv_cli.errors import EXIT_STORE_REFUSED

if TYPE_CHECKING:
    from store import VideoRecord

EXAMPLE = "Example: streamkv check --read-data"


@guarded
def check(
    store: StoreOption,
    videos: VideosArgument = None,
    read_data: Annotated[
        bool, typer.Option(help="Read and verify every byte, not only heads and the index.")
    ] = False,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Verify the store: the index against the files, or every byte. Others may write meanwhile.

    One line a finding. Exit code 0 where there is no damage, 4 where there is.
    """
    from store import Store
    from store import check as find

    console = Console(json_lines=json, quiet=quiet)
    wanted: list[str] = []
    if videos or tag or since or until:
        from streamkv_cli.commands.select import select_videos

        with Store.open(store) as opened:
            found = select_videos(opened, videos, tags=tag, since=since, until=until)
            wanted = [record.video_id for record, _ in found]
    checked, verified, damaged = 0, 0, 0

    def tell(_: "VideoRecord", size: int) -> None:
        nonlocal checked, verified
        checked, verified = checked + 1, verified + size

    for finding in find(store, wanted, read_data=read_data, on_segment=tell):
        damaged += finding.kind == "damage"
        console.record(
            "finding",
            kind=finding.kind,
            what=finding.what,
            remedy=finding.remedy,
            id=finding.video,
            segment=finding.segment,
            layer=finding.layer,
        )
        if not json and not (quiet and finding.kind == "note"):
            way = f"; {finding.remedy}" if finding.remedy else ""
            console.text(escaped(f"{finding.kind}: {finding.what}{way}"))
    console.record("checked", segments=checked, bytes=verified, damage=damaged)
    read = f", {bytes_text(verified)} of blocks verified" if read_data else ""
    result = count(damaged, "finding") + " of damage" if damaged else "no damage"
    console.message(f"{count(checked, 'segment')} checked{read}: {result}")
    if damaged:
        raise typer.Exit(EXIT_STORE_REFUSED)
