"""Ingest: stream a video through the model once and leave its compressed KV in the store.

Decoding runs ahead in a child process, writing runs behind in a thread; in between, frames go
through the vision tower in batches and segments through the language model one by one. Nothing
held grows with the length of the video.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from store import (
    BlockSpan,
    Gap,
    SegmentRecord,
    Store,
    StoreRefused,
    VideoRecord,
    VideoWriter,
    codec_of,
)
from streamkv_cli.errors import VideoError
from streamkv_cli.method.presets import Method
from streamkv_cli.method.segmenter import Segment, Segmenter
from streamkv_cli.method.threshold import CalibratedThreshold, CutRule
from streamkv_cli.model.layout import Layout
from streamkv_cli.model.video_llm import FrameFeatures, VideoLLM
from streamkv_cli.pipeline.batches import Frames, batches, blocks_of_frames, pictures
from streamkv_cli.pipeline.compress import Compressed, compress_segment
from streamkv_cli.pipeline.resume import OvertakenError, ResumePoint, vision_batch
from streamkv_cli.pipeline.slots import note_skips
from streamkv_cli.pipeline.thumbnails import Thumbnails
from streamkv_cli.pipeline.window import Window
from streamkv_cli.video import Frame


@dataclass
class Progress:
    """How far an ingest has come; handed to the caller after every batch of frames.

    Attributes:
        time: seconds of video done.
        duration: seconds in all; None for a live stream.
        frames, segments: done in this run.
        resumed: segments that were there before this run.
        left_by: whose process ended while it wrote this video, in words.
        bytes: written by this run.
        blocks_seen, blocks_kept: over all layers; kept ones with summary blocks.
        seconds: wall time by stage: decode (waiting for frames), vision, language model,
            thumbnails, write (behind the others), and total.
    """

    time: float = 0.0
    duration: float | None = None
    frames: int = 0
    segments: int = 0
    resumed: int = 0
    left_by: str = ""
    bytes: int = 0
    blocks_seen: int = 0
    blocks_kept: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall time of a block of code to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def ingest_video(
    reader: Frames,
    record: VideoRecord,
    store: Store,
    model: VideoLLM,
    layout: Layout,
    method: Method,
    *,
    fps: float,
    duration: float | None,
    init_prompt: str,
    guidance_prompt: str,
    resume: ResumePoint,
    thumbnails: bool = False,
    progress: Progress | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Stream a video through the model; every segment is durable before the next but one begins.

    Args:
        reader: an open video, started at `resume.start`.
        record: who the video is; its profile must describe the other arguments.
        layout: of its blocks.
        duration: seconds of video, where that is known for certain.
        thumbnails: keep small pictures of some of its frames with each segment.
        progress: of the gaps of this video that this run has filled, to be added to.

    Raises:
        VideoError: no frame in it, or the decoder's complaint.
        StoreRefused: the frames of a gap are cut otherwise than before, so that they cannot fill
            it; or as `Store.writer`.
        StoreError: as `VideoWriter.commit`.
        OvertakenError: the resume point is not the writer's.
    """
    progress = progress or Progress(duration=duration, resumed=resume.held)
    codec = codec_of(record)
    with progress.timed("total"):
        prefix = model.encode_prefix(model.prompt(init_prompt, "?").before)
        window = Window(prefix, method.window, layout, method.window_blocks)
        if resume.number:
            window.restore(store, record.video_id, resume.number)
        rule = _cut_rule(method, resume)
        segmenter = Segmenter(
            rule,
            min_frames=method.min_frames,
            max_frames=method.max_frames,
            merge=not method.keeps_everything,
            max_seconds=method.max_seconds,
            first=resume.number,
        )
        guidance = () if method.keeps_everything else model.guidance(guidance_prompt)
        begun = progress.frames
        seen = Thumbnails() if thumbnails else None
        with store.writer(record) as writer, _Commits(writer, progress) as commits:
            if writer.next_number != resume.number or writer.state.complete:
                raise OvertakenError
            progress.left_by = progress.left_by or writer.left_by

            def finish(segment: Segment, following: Frame | None) -> bool:
                """Compress and commit a segment; whether it was the last one to be made."""
                if resume.gap is not None:
                    _check_fits(resume.gap, segment, following, record)
                with progress.timed("language model"):
                    compressed = compress_segment(
                        segment, model, layout, method, window, guidance, codec, record.geometry
                    )
                progress.segments += 1
                progress.blocks_seen += compressed.seen
                progress.blocks_kept += compressed.kept
                notes: dict[str, Any] = {"changes": segment.changes}
                notes |= note_skips(compressed.skips)
                if following is not None:
                    notes |= {"next_frame": following.index, "next_time": following.time}
                spans = spans_of(segment, 1 / fps, duration)
                with progress.timed("thumbnails"):
                    attached = seen.take() if seen is not None else {}
                commits.put(segment, spans, compressed, following is None, notes, attached)
                return resume.gap is not None and segment.number == resume.gap.last

            def encode() -> None:
                for frames in batches(reader, vision_batch(model.placement), progress):
                    blocks = blocks_of_frames(frames, layout.frames)
                    with progress.timed("vision"):
                        pixels = model.preprocess(pictures(blocks, layout.frames))
                        features = model.features(pixels)
                        vectors = _cut_vectors(features, method)
                    for block, tokens, vector in zip(blocks, features.tokens, vectors, strict=True):
                        first, last = block[0], block[-1]
                        if first.index < resume.next_frame:
                            continue
                        for segment in segmenter.push(
                            tokens,
                            first.time,
                            vector,
                            end=last.time,
                            frames=len(block),
                            number=first.index // layout.frames,
                        ):
                            if finish(segment, first):
                                return
                        if seen is not None:
                            with progress.timed("thumbnails"):
                                seen.add(first)
                        progress.frames += len(block)
                        progress.time = last.time + 1 / fps
                    on_progress(progress)
                for segment in segmenter.finish():
                    finish(segment, None)

            encode()
            if progress.frames == begun:
                raise VideoError(
                    f"{reader.info.name} has no picture to ingest", "check that it is a video"
                )
    if progress.duration is not None:
        progress.time = min(progress.time, progress.duration)
    on_progress(progress)
    return progress


def _check_fits(gap: Gap, segment: Segment, following: Frame | None, record: VideoRecord) -> None:
    """Refuse a segment that would leave or overlap seconds between it and what lies behind.

    The same frames are cut alike on the same kind of machine. Where they are not, the segments
    behind the gap were encoded after others than these.
    """
    assert gap.end is not None
    reached = None if following is None else round(following.time, 6)
    fits = reached is not None and (
        reached == gap.end if segment.number == gap.last else reached < gap.end
    )
    if not fits:
        raise StoreRefused(
            f"the gap of {record.name} from {gap.start:.1f} s to {gap.end:.1f} s cannot be filled: "
            f"on this machine its frames are cut otherwise than they were",
            f"remove it (streamkv rm {record.video_id[:8]}) and ingest it again",
        )


class _Commits:
    """Writes segments behind the model's back, one at a time, at most one waiting."""

    def __init__(self, writer: VideoWriter, progress: Progress) -> None:
        self._writer = writer
        self._progress = progress
        self._thread = ThreadPoolExecutor(1, "streamkv-write")
        self._pending: list[Future[SegmentRecord]] = []

    def __enter__(self) -> "_Commits":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What was handed over is finished in any case: an interrupt loses no encoded segment.
        self._thread.shutdown(wait=True)
        if kind is None:
            self._collect(0)

    def put(
        self,
        segment: Segment,
        spans: list[BlockSpan],
        compressed: Compressed,
        final: bool,
        notes: dict[str, Any],
        attachments: dict[str, bytes],
    ) -> None:
        """Hand a segment over; waits while more than one is still being written."""
        self._collect(1)
        self._pending.append(
            self._thread.submit(self._commit, segment, spans, compressed, final, notes, attachments)
        )

    def _commit(
        self,
        segment: Segment,
        spans: list[BlockSpan],
        compressed: Compressed,
        final: bool,
        notes: dict[str, Any],
        attachments: dict[str, bytes],
    ) -> SegmentRecord:
        with self._progress.timed("write"):
            return self._writer.commit(
                segment.number,
                spans[0].start,
                spans[-1].end,
                segment.frames,
                spans,
                compressed.layers,
                summary=compressed.summary,
                final=final,
                notes=notes,
                attachments=attachments,
            )

    def _collect(self, leave: int) -> None:
        while len(self._pending) > leave:
            self._progress.bytes += self._pending.pop(0).result().bytes


def _cut_rule(method: Method, resume: ResumePoint) -> CutRule:
    rule = method.cut_rule()
    if isinstance(rule, CalibratedThreshold):
        rule.changes = resume.changes
    return rule


def _cut_vectors(features: FrameFeatures, method: Method) -> torch.Tensor:
    """[T, D] vectors on the CPU that adjacent frames are compared by."""
    if method.cut_on == "vision":
        return features.embeddings.double().cpu()
    return features.projected.cpu()


def spans_of(segment: Segment, step: float, duration: float | None) -> list[BlockSpan]:
    """Seconds each block covers: from its first frame to the sampling step after its last.

    The last span ends with the video, unless its header says that it ends before its own frames.
    """
    spans = []
    for piece in segment.pieces:
        end = piece.end + step
        if duration is not None and duration > piece.end:
            end = min(end, duration)
        # To the microsecond, which is finer than any container counts in.
        spans.append(BlockSpan(round(piece.start, 6), round(end, 6), piece.frames))
    return spans
