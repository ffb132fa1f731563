"""`streamkv show`: one video, segment by segment."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    HtmlOption,
    JsonOption,
    QuietOption,
    SinceOption,
    StoreOption,
    TagFilter,
    UntilOption,
    VerboseOption,
    VideosArgument,
)
from streamkv_cli.commands.paging import console_for, hand_over
from streamkv_cli.commands.select import select_videos
from streamkv_cli.console import Console, bytes_text, span_text

if TYPE_CHECKING:
    from store import SegmentRecord, VideoRecord, VideoState

EXAMPLE = "Example: streamkv show talk.mp4 --html talk.html"


@guarded
def show(
    store: StoreOption,
    video: VideosArgument = None,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    html: HtmlOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show a video's segments: times, frames, blocks kept by layer, bytes; -v adds its profile.

    With --html it is a page instead: a picture of each segment, and a map of what was kept.
    """
    from store import Store
    from streamkv_cli.errors import UsageError

    console = console_for(html, json=json, quiet=quiet, verbose=verbose)
    with Store.open(store) as opened:
        found = select_videos(opened, video, tags=tag, since=since, until=until)
        if len(found) > 1:
            names = ", ".join(f"{r.name} ({r.video_id[:8]})" for r, _ in found[:4])
            raise UsageError(f"{len(found)} videos match, {names}", "give the id of one")
        record, state = found[0]
        segments = opened.segments(record.video_id)
        if html is not None:
            from streamkv_cli.pages.pictures import Pictures
            from streamkv_cli.pages.video_page import video_page

            pictures = Pictures(opened)
            page = video_page(record, state, segments, pictures)
            hand_over(console, html, page, pictures.unread)
    if html is None or json:
        _tell(console, record, state, segments)


def _tell(
    console: Console,
    record: "VideoRecord",
    state: "VideoState",
    segments: "Sequence[SegmentRecord]",
) -> None:
    console.record(
        "video",
        id=record.video_id,
        name=record.name,
        source=record.source,
        complete=state.complete,
        bytes=state.bytes,
        codec=record.codec,
        profile=dict(record.profile),
        notes=dict(record.notes),
        tags=dict(record.tags),
    )
    rows = []
    for segment in segments:
        blocks = len(segment.spans)
        console.record(
            "segment",
            number=segment.number,
            start=segment.start,
            end=segment.end,
            frames=segment.frames,
            blocks=blocks,
            kept=list(segment.kept),
            summary=segment.summary,
            bytes=segment.bytes,
        )
        rows.append(
            (
                str(segment.number),
                *span_text(segment.start, segment.end).split("-"),
                str(segment.frames),
                str(blocks),
                _kept_text(segment.kept),
                bytes_text(segment.bytes),
            )
        )
    header = ("segment", "start", "end", "frames", "blocks", "kept by layer", "size")
    console.table(header, rows, right="segment start end frames blocks size")
    if console.verbose and not console.json_lines:
        for key, value in sorted({**record.profile, **record.notes}.items()):
            console.detail(f"{key}: {value}")


def _kept_text(kept: tuple[int, ...]) -> str:
    """Counts layer by layer, runs of equal ones shortened: 3 1x4 5."""
    runs: list[list[int]] = []
    for count in kept:
        if runs and runs[-1][0] == count:
            runs[-1][1] += 1
        else:
            runs.append([count, 1])
    return " ".join(f"{count}x{times}" if times > 1 else str(count) for count, times in runs)
