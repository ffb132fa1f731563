"""`streamkv stats`: where the bytes of a store are."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

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
from streamkv_cli.commands.select import select_videos
from streamkv_cli.console import Console, bytes_text, count, hourly

if TYPE_CHECKING:
    from store import Store, VideoRecord, VideoState

EXAMPLE = "Example: streamkv stats --by layer"


@guarded
def stats(
    store: StoreOption,
    videos: VideosArgument = None,
    by: Annotated[
        Literal["video", "codec", "layer"], typer.Option(help="What a line of the table is.")
    ] = "video",
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell where the bytes are: by video, by codec, by layer; and when a video was last asked.

    --json gives all three and the total. No block is stored twice, and none is shared by videos.
    """
    from store import Store

    console = Console(json_lines=json, quiet=quiet)
    tables = _Tables()
    with Store.open(store) as opened:
        for record, state in select_videos(opened, videos, tags=tag, since=since, until=until):
            tables.add(opened, record, state)
        index = opened.index_bytes()
    for kind in ("video", "codec", "layer"):
        for values in tables.records[kind]:
            console.record(kind, **values)
        if kind == by:
            tables.show(console, kind)
    total = sum(values["bytes"] for values in tables.records["video"])
    pictures = sum(values["thumbnail_bytes"] for values in tables.records["video"])
    console.record(
        "total",
        videos=len(tables.records["video"]),
        bytes=total,
        thumbnail_bytes=pictures,
        index_bytes=index,
    )
    console.message(
        f"{count(len(tables.records['video']), 'video')}, {bytes_text(total)} in segment files "
        f"({bytes_text(pictures)} of it thumbnails), "
        f"{bytes_text(index)} of index"
    )


class _Tables:
    """Sums by video, codec and layer."""

    def __init__(self) -> None:
        self._videos: list[dict] = []
        self._codecs: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._layers: dict[int, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, store: "Store", record: "VideoRecord", state: "VideoState") -> None:
        """Count one video in."""
        from store import CODECS

        blocks, thumbnails = [0] * record.geometry.layers, 0
        for segment in store.segments(record.video_id):
            thumbnails += sum(attached.bytes for attached in segment.attachments.values())
            for layer, rows in enumerate(segment.rows()):
                blocks[layer] += rows
        codec = CODECS.get(record.codec)  # of a later version: its blocks' size is unknown
        size = codec.block_bytes(record.geometry) if codec else 0
        raw = record.geometry.decoded_bytes()
        for layer, rows in enumerate(blocks):
            self._layers[layer][0] += rows
            self._layers[layer][1] += rows * size
        seconds, asked = state.end - state.start, store.asked(record.video_id)
        self._videos.append(
            {
                "id": record.video_id,
                "name": record.name,
                "codec": record.codec,
                "blocks": sum(blocks),
                "bytes": state.bytes,
                "block_bytes": sum(blocks) * size,
                "raw_block_bytes": sum(blocks) * raw,
                "thumbnail_bytes": thumbnails,
                "bytes_per_hour": round(hourly(state.bytes, seconds)),
                "asked": asked and datetime.fromtimestamp(asked, UTC).isoformat(timespec="seconds"),
            }
        )
        sums = self._codecs[record.codec]
        for key, value in (
            ("videos", 1),
            ("seconds", seconds),
            ("blocks", sum(blocks)),
            ("bytes", state.bytes),
            ("block_bytes", sum(blocks) * size),
            ("raw_block_bytes", sum(blocks) * raw),
            ("thumbnail_bytes", thumbnails),
        ):
            sums[key] += value

    @property
    def records(self) -> dict[str, list[dict]]:
        """JSON values of each kind of line."""
        codecs = []
        for name, sums in sorted(self._codecs.items()):
            per_hour = round(hourly(int(sums["bytes"]), sums["seconds"]))
            codecs.append({"name": name, **sums, "bytes_per_hour": per_hour})
        layers = [
            {"layer": layer, "blocks": blocks, "bytes": size}
            for layer, (blocks, size) in sorted(self._layers.items())
        ]
        return {"video": self._videos, "codec": codecs, "layer": layers}

    def show(self, console: Console, kind: str) -> None:
        """The table of one kind."""
        rows = self.records[kind]
        if kind == "layer":
            header: tuple[str, ...] = ("layer", "blocks", "size")
            lines = [[str(r["layer"]), str(r["blocks"]), bytes_text(r["bytes"])] for r in rows]
        elif kind == "codec":
            header = ("codec", "videos", *_SIZES)
            lines = [[r["name"], f"{r['videos']:g}", *_sizes(r)] for r in rows]
        else:
            header = ("id", "name", "codec", *_SIZES, "asked")
            lines = [
                [r["id"][:8], r["name"], r["codec"], *_sizes(r), (r["asked"] or "never")[:16]]
                for r in rows
            ]
        console.table(header, lines, right="layer videos blocks size")


_SIZES = ("blocks", "size", "per hour", "of raw")


def _sizes(sums: dict) -> list[str]:
    """Blocks, bytes, bytes an hour, and what share of the blocks' bytes the codec left."""
    raw = sums["raw_block_bytes"]
    share = f"{sums['block_bytes'] / raw:.0%}" if raw else "-"
    sizes = bytes_text(sums["bytes"]), bytes_text(sums["bytes_per_hour"])
    return [f"{sums['blocks']:.0f}", *sizes, share]
