"""`streamkv repair`: make the index again from the segment files."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamkv_cli.commands.guard import guarded, on_interrupt
from streamkv_cli.commands.options import JsonOption, QuietOption, StoreOption
from streamkv_cli.console import Console, bytes_text, count, span_text, time_text
from streamkv_cli.errors import EXIT_STORE_REFUSED

if TYPE_CHECKING:
    from store import Gap, VideoRecord
    from store.rebuild import Unfinished

EXAMPLE = "Example: streamkv repair --dry-run"


@guarded
def repair(
    store: StoreOption,
    dry_run: Annotated[bool, typer.Option(help="Tell what is damaged, change nothing.")] = False,
    quick: Annotated[
        bool, typer.Option(help="Verify files' heads only, not every block in them.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Rebuild the index from the segment files alone; drop damaged segments after naming them.

    A segment of which only a small picture is damaged is kept without that picture.
    Works whatever became of the index. A dropped segment leaves a gap; the rest of the video can
    be asked, and the command that is shown ingests the gap's seconds again.
    """
    from store import rebuild

    console = Console(json_lines=json, quiet=quiet)
    on_interrupt("the store is as it was; run the same command again")
    read = [0]

    def tell(_: "VideoRecord", size: int) -> None:
        read[0] += size

    rebuilt = rebuild(store, read_data=not quick, dry_run=dry_run, on_segment=tell)
    for damage in rebuilt.damaged:
        console.record("damaged", id=damage.video, segment=damage.segment, error=damage.what)
        console.warning(damage.what)
    for damage in rebuilt.mended:
        console.record("taken_out", id=damage.video, segment=damage.segment, error=damage.what)
        console.warning(f"{damage.what}; {'it would be' if dry_run else 'it is'} taken out")
    for unfinished in rebuilt.unfinished:
        _tell_unfinished(console, unfinished, store)
    console.record(
        "repaired", videos=rebuilt.videos, segments=rebuilt.segments, bytes=read[0], dry_run=dry_run
    )
    verified = "" if quick else f", {bytes_text(read[0])} verified"
    console.message(
        f"index {'would be ' if dry_run else ''}rebuilt: {count(rebuilt.videos, 'video')}, "
        f"{count(rebuilt.segments, 'segment')}{verified}"
    )
    if (
        rebuilt.damaged
        or rebuilt.mended
        or any(unfinished.lost for unfinished in rebuilt.unfinished)
    ):
        raise typer.Exit(EXIT_STORE_REFUSED)


def _tell_unfinished(console: Console, unfinished: "Unfinished", store: Path) -> None:
    """Which seconds are not there, and the command that brings just them."""
    video = unfinished.video
    command = ingest_again(video, store)
    for gap in unfinished.gaps:
        console.record(
            "gap",
            id=video.video_id,
            name=video.name,
            first=gap.first,
            last=gap.last,
            start=gap.start,
            end=gap.end,
            command=command,
        )
    if not unfinished.lost:
        return  # an ingest that goes on some day, and no damage
    gaps = ", ".join(gap_text(gap) for gap in unfinished.gaps)
    way = f"to ingest just that again: {command}" if command else "a stream cannot be had again"
    console.warning(f"{video.name} lacks {gaps}; {way}")


def gap_text(gap: "Gap") -> str:
    """The seconds of a gap in words."""
    if gap.end is None:
        return f"all from {time_text(gap.start)} on"
    return span_text(gap.start, gap.end)


def ingest_again(video: "VideoRecord", store: Path) -> str:
    """The command that ingests what is missing of a video; "" where it was a stream."""
    if not video.source.startswith("/"):
        return ""
    return shlex.join(["streamkv", "ingest", video.source, "--as-stored", "--store", str(store)])
