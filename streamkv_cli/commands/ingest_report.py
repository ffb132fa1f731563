"""What `streamkv ingest` tells: of a video while it runs and when it ended, of all at the end."""

import re
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from streamkv_cli.commands.guard import exit_code
from streamkv_cli.commands.sources import Sources
from streamkv_cli.console import (
    Console,
    ProgressLine,
    bytes_text,
    count,
    hourly,
    span_text,
    time_text,
)
from streamkv_cli.errors import EXIT_INPUT_FAILED, NothingFoundError

if TYPE_CHECKING:
    from store import VideoRecord, VideoState
    from streamkv_cli.pipeline.ingest import Progress
    from streamkv_cli.pipeline.resume import ResumePoint
    from streamkv_cli.pipeline.session import Outcome, Upcoming
    from streamkv_cli.video import VideoInfo

_IN_WORDS = {
    "done": "ingested",
    "already": "already there",
    "duplicate": "the same as others",
    "new": "to ingest",
    "partial": "to go on with",
    "failed": "failed",
}


class View:
    """Shows one ingest while it runs: times real time, segments, bytes written."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._stack = ExitStack()
        self._left = False
        self._line: ProgressLine | None = None
        self._begun = (0.0, 0.0)

    def __enter__(self) -> "View":
        """The object itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._stack.close()

    def on_start(self, info: "VideoInfo", resume: "ResumePoint") -> None:
        """The video is open, to fill a gap or to go on from there."""
        self._console.detail(
            f"{info.name}: {info.width}x{info.height} {info.codec}, "
            f"{time_text(info.duration)}, decoded by {info.decoder}"
        )
        if resume.gap is not None:
            gap = span_text(resume.gap.start, resume.gap.end or resume.gap.start)
            self._console.message(f"{info.name}: filling the gap {gap}")
        elif resume.number:
            self._console.message(f"{info.name}: going on after {count(resume.number, 'segment')}")
        self._stack.close()  # the line of the gap before
        self._line = self._stack.enter_context(self._console.progress(self._name, info.duration))

    def on_progress(self, progress: "Progress") -> None:
        """A batch of frames is through."""
        assert self._line is not None
        if progress.left_by and not self._left:
            self._left = True
            self._console.message(
                f"{self._name}: took over from {progress.left_by}, which has ended"
            )
        now = time.monotonic()
        if not self._begun[0]:
            self._begun = now, progress.time
        speed = (progress.time - self._begun[1]) / max(now - self._begun[0], 1e-3)
        self._line.update(
            progress.time,
            f"{speed:.1f}x real time, {count(progress.segments, 'segment')}, "
            f"{bytes_text(progress.bytes)} written",
        )


class Report:
    """Tells what became of each video, and in the end of all.

    Args:
        console: where it is told.
        sources: the videos that were named.

    Attributes:
        count: videos through.
    """

    def __init__(self, console: Console, sources: Sources) -> None:
        self.console = console
        self.count = 0
        self._sources = sources
        self._statuses: Counter[str] = Counter()
        self._failures: list[str] = []
        self._seconds = 0.0
        self._bytes = 0
        self._begun = time.monotonic()
        self._seen: set[str] = set()

    @property
    def in_short(self) -> str:
        """How many failed so far, if any."""
        return f"{len(self._failures)} failed" if self._failures else ""

    def done(self, source: str, outcome: "Outcome") -> None:
        """A video is in the store, by this run or from before."""
        if outcome.progress is not None:
            self._count("done")
            self._seconds += outcome.state.end - outcome.state.start
            self._bytes += outcome.progress.bytes
            self._tell_done(source, outcome, outcome.progress)
            return
        self._tell_already(source, outcome.record, outcome.state, outcome.twin)

    def failed(self, source: str, error: Exception, state: "VideoState | None") -> None:
        """A video could not be ingested; `state` is what the store has of it, if anything."""
        self._count("failed")
        self._failures.append(str(error))
        self.console.record(
            "failed",
            status="failed",
            source=shown(source),
            path=shown(source),
            error=str(error),
            exit=exit_code(error),
            seconds=state.end - state.start if state else 0.0,
            bytes=state.bytes if state else 0,
        )

    def would(self, video: "Upcoming") -> None:
        """A video as a dry run sees it."""
        twin = video.identity in self._seen
        self._seen.add(video.identity)
        if video.stored is not None and video.stored[1].complete:
            self._tell_already(video.source, *video.stored, "another" if twin else "")
            return
        partial = video.stored[1] if video.stored else None
        status = "duplicate" if twin else "partial" if partial else "new"
        self._count(status)
        self.console.record(
            "ingest",
            status=status,
            id=video.identity[:16],
            source=shown(video.source),
            path=shown(video.source),
            segments=partial.held if partial else 0,
            seconds=partial.end - partial.start if partial else 0.0,
            bytes=partial.bytes if partial else 0,
            dry_run=True,
        )
        words = {
            "duplicate": f"{shown(video.source)} is the same as another one",
            "partial": f"would go on with {shown(video.source)}",
            "new": f"would ingest {shown(video.source)}",
        }
        self.console.message(words[status])

    def close(self) -> None:
        """Tell of all; where videos failed, name each and exit with 3.

        Raises:
            NothingFoundError: there was no video.
        """
        if not self.count:
            raise NothingFoundError("no video to ingest", "name files, or folders that hold some")
        if self.count > 1:
            self._tell_all()
        if self._failures:
            self.console.error(f"{len(self._failures)} of {count(self.count, 'video')} failed")
            for line in self._failures:
                self.console.error_detail(line)
            raise typer.Exit(EXIT_INPUT_FAILED)

    def _count(self, status: str) -> None:
        self.count += 1
        self._statuses[status] += 1

    def _tell_all(self) -> None:
        kinds = [f"{self._statuses[s]} {w}" for s, w in _IN_WORDS.items() if self._statuses[s]]
        did = ""
        if self._statuses["done"]:
            did = (
                f"; {time_text(self._seconds)} of video, {bytes_text(self._bytes)} written in "
                f"{time_text(time.monotonic() - self._begun)}"
            )
        self.console.message(f"{count(self.count, 'video')}: {', '.join(kinds)}{did}")

    def _tell_already(
        self, source: str, record: "VideoRecord", state: "VideoState", twin: str
    ) -> None:
        status = "duplicate" if twin else "already"
        self._count(status)
        self.console.record(
            "ingest",
            status=status,
            id=record.video_id,
            name=record.name,
            source=record.source,
            path=shown(source),
            tags=dict(record.tags),
            segments=state.segments,
            seconds=state.end - state.start,
            bytes=state.bytes,
        )
        name = Path(source).name
        if twin:
            self.console.message(f"{shown(source)} is the same video as {twin}; nothing to do")
            return
        renamed = "" if name == record.name else f" as {record.name}"
        self.console.message(
            f"{name} is already ingested{renamed}: {count(state.segments, 'segment')}, "
            f"{bytes_text(state.bytes)}; nothing to do"
        )

    def _tell_done(self, source: str, outcome: "Outcome", progress: "Progress") -> None:
        record, state = outcome.record, outcome.state
        span = state.end - state.start
        per_hour = hourly(state.bytes, span)
        seconds = {stage: round(value, 3) for stage, value in progress.seconds.items()}
        self.console.record(
            "ingest",
            status="done",
            id=record.video_id,
            name=record.name,
            source=record.source,
            path=shown(source),
            seconds=span,
            frames=progress.frames,
            tags=dict(record.tags),
            segments=state.segments,
            resumed=progress.resumed,
            blocks_seen=progress.blocks_seen,
            blocks_kept=progress.blocks_kept,
            bytes=state.bytes,
            bytes_per_hour=round(per_hour),
            wall={**seconds, "decoder": round(outcome.decoding, 3)},
        )
        resumed = f", {progress.segments} of them in this run" if progress.resumed else ""
        what = (
            f"{record.name}: {time_text(span)} of video, {count(state.frames, 'frame')}, "
            f"{count(state.segments, 'segment')}{resumed}"
        )
        if not self._sources.single and not self.console.verbose:
            self.console.message(f"{what}, {bytes_text(state.bytes)}")
            return
        kept = progress.blocks_kept / max(progress.blocks_seen, 1)
        stages = ", ".join(
            f"{stage} {seconds.get(stage, 0.0):.1f} s"
            for stage in ("decode", "vision", "language model", "write")
        )
        self.console.message(
            f"{what}\n"
            f"  blocks kept {progress.blocks_kept} of {progress.blocks_seen} ({kept:.1%}), "
            f"{bytes_text(state.bytes)} on disk, {bytes_text(per_hour)} an hour of video\n"
            f"  wall time {seconds['total']:.1f} s ({stages}; decode is the wait for frames, "
            f"write goes on behind)"
        )


def shown(source: str) -> str:
    """A source as it may be shown: a URL without its password."""
    return re.sub(r"//[^/@]*@", "//", source)
