"""Ingest videos one after another with one model: skip, go on with, or begin each."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xxhash

from store import Geometry, Store, StoreRefused, VideoRecord, VideoState
from streamkv_cli.errors import StreamKVError, VideoError
from streamkv_cli.model.families import FAMILIES, budget
from streamkv_cli.model.identity import pictures_digest
from streamkv_cli.pipeline.profile import first_difference, ingest_profile, model_profile
from streamkv_cli.pipeline.resume import (
    OvertakenError,
    ResumePoint,
    resume_point,
    vision_batch,
)
from streamkv_cli.pipeline.slots import note_layout
from streamkv_cli.video import FrameReader, Place, VideoInfo, fingerprint, locate, open_video

if TYPE_CHECKING:
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.checkpoint import Checkpoint
    from streamkv_cli.model.device import Placement
    from streamkv_cli.model.layout import Layout
    from streamkv_cli.model.video_llm import VideoLLM
    from streamkv_cli.pipeline.ingest import Progress

Decoder = Literal["auto", "decord", "pyav"]

DEFAULT_CODEC = "int8"
"""Changes no answer that was measured (docs/tuning.md). Where everything is kept, nothing is lost
unasked: that is written raw."""


@dataclass(frozen=True)
class Settings:
    """What every video of a session is ingested with.

    Attributes:
        fps: frames sampled a second.
        decoder: who decodes; "auto" lets the program choose.
        skip_damaged: pass over pictures that cannot be decoded.
        init_prompt, guidance_prompt: the words before and behind each segment.
        codec: how blocks are written, a name of `store.CODECS`; None goes on as a video was begun,
            and begins with DEFAULT_CODEC, or raw where the method keeps everything.
        frame_tokens: most visual tokens of a block; None takes the model family's default.
        thumbnails: keep small pictures of some frames; None goes on as a video was begun, and
            begins with them.
    """

    method: "Method"
    fps: float
    init_prompt: str
    guidance_prompt: str
    decoder: Decoder = "auto"
    skip_damaged: bool = False
    codec: str | None = None
    frame_tokens: int | None = None
    thumbnails: bool | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Attributes:
        record, state: as the store has them now.
        progress: of this run; None where the video was already complete.
        decoding: seconds the decoder worked, in its own process.
        twin: source of the same bytes that this session has met before, "" if none.
    """

    record: VideoRecord
    state: VideoState
    progress: "Progress | None" = None
    decoding: float = 0.0
    twin: str = ""


@dataclass
class Upcoming:
    """A video that was looked up and is still to be ingested.

    Attributes:
        source: as given.
        place, identity: where and what it is; None and "" where it cannot be read.
        stored: what the store had of it when it was looked up.
        reader: its decoder, where that works ahead already.
        resume: where the reader starts.
        error: why it cannot be ingested.
        session: that looked it up.
    """

    source: str
    place: Place | None = None
    identity: str = ""
    stored: tuple[VideoRecord, VideoState] | None = None
    reader: FrameReader | None = None
    resume: ResumePoint = field(default_factory=ResumePoint)
    error: StreamKVError | StoreRefused | None = None
    session: "IngestSession | None" = None

    def close(self) -> None:
        """End its decoder, if it has one."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None


class IngestSession:
    """Several videos with one model, which is loaded when the first one needs it.

    Args:
        checkpoint: of the model.
        placement: where and in which type it runs.
        settings: for all videos of the session.
        tags: given to every video; those that it has besides stay.
        on_load: entered while the model is loaded.
    """

    def __init__(
        self,
        checkpoint: "Checkpoint",
        placement: "Placement",
        settings: Settings,
        tags: Mapping[str, str] | None = None,
        on_load: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._checkpoint = checkpoint
        self._placement = placement
        self._settings = settings
        self._tags = dict(tags or {})
        self._on_load = on_load
        self._frame_tokens = budget(FAMILIES[checkpoint.family], settings.frame_tokens)
        self._model: VideoLLM | None = None
        self._met: dict[str, str] = {}

    def _profile(self, begun: VideoRecord | None) -> Mapping[str, Any]:
        """What the settings make of a video; one that was begun goes on with what it has.

        Raises:
            StoreRefused: it was begun with other settings.
        """
        settings = self._settings
        dtype = self._placement.dtype_name
        stored = begun.profile if begun else None
        profile = ingest_profile(
            model_profile(
                self._checkpoint, dtype, settings.init_prompt, stored, self._placement.weights
            ),
            settings.method,
            settings.fps,
            settings.guidance_prompt,
            self._codec(begun),
            pictures_digest(self._checkpoint.folder),
            self._frame_tokens,
        )
        if begun is None:
            return profile
        _refuse_other_settings(begun, profile)
        return begun.profile

    def _codec(self, begun: VideoRecord | None) -> str:
        """What blocks are written as; bf16 of a bfloat16 model is raw under another name."""
        if self._settings.codec is None and begun is not None:
            return begun.codec
        default = "raw" if self._settings.method.keeps_everything else DEFAULT_CODEC
        name = self._settings.codec or default
        same = name == "bf16" and self._placement.dtype_name == "bfloat16"
        return "raw" if same else name

    def _thumbnails(self, begun: VideoRecord | None) -> bool:
        """Whether pictures are kept; a memory of before there were any goes on without."""
        if self._settings.thumbnails is not None:
            return self._settings.thumbnails
        return begun is None or bool(begun.notes.get("thumbnails", False))

    def look_up(self, store: Store | None, source: str) -> Upcoming:
        """See what a source is and what the store has of it; decodes nothing and never fails.

        Args:
            store: None where there is none yet.
            source: a path, a stream's URL, or /dev/stdin.
        """
        found = Upcoming(source, session=self)
        try:
            found.place = locate(source)
            found.identity = identify(found.place)
            found.stored = store.find(found.identity[:16]) if store else None
            if found.stored is not None:
                self._profile(found.stored[0])  # refuses other settings
        except (VideoError, StoreRefused) as error:
            found.error = error
        return found

    def begin(self, store: Store, video: Upcoming) -> None:
        """Let a video's decoder work ahead, as far as its ring of pictures goes."""
        assert video.place is not None
        video.close()
        video.resume = self._resume_point(store, video)
        video.reader = open_video(
            video.source,
            fps=self._settings.fps,
            decoder=self._settings.decoder,
            start=video.resume.start(vision_batch(self._placement), self._settings.fps),
            skip_damaged=self._settings.skip_damaged,
            wait=False,
        )

    def ingest(
        self,
        store: Store,
        source: str | Upcoming,
        on_start: Callable[[VideoInfo, ResumePoint], None],
        on_progress: Callable[["Progress"], None],
        on_warning: Callable[[str], None] = lambda _: None,
    ) -> Outcome:
        """Ingest one video: from its beginning, or what is not there of it.

        Gaps are filled first, each from what lies before it, then the ingest goes on to the end.

        Args:
            store: open for writing.
            source: a path, a stream's URL, /dev/stdin, or a video that was looked up.
            on_start: told what was opened and where in it, once for each gap and for the rest.
            on_progress: told after every batch of frames.
            on_warning: told each of the decoder's warnings, before an error at the latest.

        Raises:
            VideoError: the video cannot be read.
            StoreRefused: it is stored with other settings, or being written by another process.
        """
        video = source if isinstance(source, Upcoming) else self.look_up(store, source)
        if video.error is not None or video.place is None:
            raise video.error or VideoError(f"{video.source} was not looked up")
        key = video.identity[:16]
        twin = self._met.setdefault(video.identity, video.source)
        progress, decoding = None, 0.0
        while True:
            # It may have been done since it was looked up: under another name, by someone else.
            video.stored = store.find(key)
            if video.stored is not None:
                record, state = video.stored
                self._profile(record)  # refuses other settings
                record = self._tag(store, record)
                if state.complete:
                    video.close()
                    twin = "" if twin == video.source else twin
                    return Outcome(record, state, progress, decoding, twin)
            store.refuse_written(key, video.place.name)
            if video.reader is None or video.resume != self._resume_point(store, video):
                self.begin(store, video)
            try:
                progress, seconds = self._ingest_from(
                    store, video, progress, on_start, on_progress, on_warning
                )
            except OvertakenError:
                continue
            decoding += seconds
            if video.resume.gap is None:
                done = store.find(key)
                assert done is not None
                return Outcome(*done, progress, decoding)

    def _ingest_from(
        self,
        store: Store,
        video: Upcoming,
        progress: "Progress | None",
        on_start: Callable[[VideoInfo, ResumePoint], None],
        on_progress: Callable[["Progress"], None],
        on_warning: Callable[[str], None],
    ) -> tuple["Progress", float]:
        """Fill the next gap, or go on to the end; also returns the seconds the decoder worked."""
        assert video.reader is not None
        assert video.place is not None
        reader, video.reader = video.reader, None
        settings = self._settings
        with reader.ready():
            told = _Warnings(reader, on_warning)
            told.tell()
            model = self.loaded()
            from streamkv_cli.pipeline.ingest import ingest_video

            def progressed(progress: "Progress") -> None:
                told.tell()
                on_progress(progress)

            on_start(reader.info, video.resume)
            # What a stream says of its length is true of what was written before it, if at all.
            duration = None if video.place.live else reader.info.duration
            profile = self._profile(video.stored[0] if video.stored else None)
            layout = model.lay_out(reader.info.width, reader.info.height, settings.fps)
            try:
                progress = ingest_video(
                    reader,
                    self._record(video.place, video.identity, model, layout, duration, profile),
                    store,
                    model,
                    layout,
                    settings.method,
                    fps=settings.fps,
                    duration=duration,
                    init_prompt=settings.init_prompt,
                    guidance_prompt=settings.guidance_prompt,
                    resume=video.resume,
                    thumbnails=self._thumbnails(video.stored[0] if video.stored else None),
                    progress=progress,
                    on_progress=progressed,
                )
            finally:
                told.tell()
        return progress, reader.decode_seconds

    def _resume_point(self, store: Store, video: Upcoming) -> ResumePoint:
        return resume_point(store, video.identity[:16] if video.stored else None)

    def _tag(self, store: Store, record: VideoRecord) -> VideoRecord:
        """Give a stored video this session's tags as well."""
        tags = {**record.tags, **self._tags}
        if tags != record.tags:
            store.tag(record.video_id, tags)
        return replace(record, tags=tags)

    def loaded(self) -> "VideoLLM":
        """The model; loaded once."""
        if self._model is None:
            with self._on_load():
                from streamkv_cli.model.loading import load_model

                self._model = load_model(self._checkpoint, self._placement, self._frame_tokens)
        return self._model

    def record_of(self, source: str, layout: "Layout", duration: float | None) -> VideoRecord:
        """The record that a file's ingest would begin with."""
        place = locate(source)
        return self._record(
            place, identify(place), self.loaded(), layout, duration, self._profile(None)
        )

    def _record(
        self,
        place: Place,
        identity: str,
        model: "VideoLLM",
        layout: "Layout",
        duration: float | None,
        profile: Mapping[str, Any],
    ) -> VideoRecord:
        shape = model.shape
        return VideoRecord(
            video_id=identity[:16],
            name=place.name if place.live else Path(place.address).name,
            source=place.name if place.live else str(Path(place.address).resolve()),
            fingerprint=identity,
            profile=profile,
            geometry=Geometry(
                shape.layers,
                shape.kv_heads,
                layout.tokens,
                shape.head_dim,
                self._placement.dtype_name,
            ),
            created=_date(place),
            tags=self._tags,
            notes={
                "model": self._checkpoint.source,
                "revision": self._checkpoint.revision,
                "preset": self._settings.method.name,
                "duration": duration,
                "thumbnails": self._thumbnails(None),
                **note_layout(layout),
            },
            codec=profile["codec"],
        )


def _refuse_other_settings(record: VideoRecord, profile: Mapping[str, Any]) -> None:
    if difference := first_difference(record.profile, profile):
        raise StoreRefused(
            f"{record.name} is in the store with other settings: {difference}",
            "go on with the stored ones (--as-stored), remove the video "
            f"(streamkv rm {record.video_id[:8]}), or use another --store",
        )


def identify(place: Place) -> str:
    """Identity of a video, 32 hex digits: of a file by its content; a stream is new each time.

    Raises:
        VideoError: the file cannot be read.
    """
    if not place.live:
        return fingerprint(place.address)
    return xxhash.xxh3_128(f"{place.name} {datetime.now(UTC).isoformat()}".encode()).hexdigest()


class _Warnings:
    """Tells each of a reader's warnings once."""

    def __init__(self, reader: FrameReader, tell: Callable[[str], None]) -> None:
        self._reader = reader
        self._tell = tell
        self._told = 0

    def tell(self) -> None:
        new = self._reader.warnings[self._told :]
        self._told += len(new)
        for warning in new:
            self._tell(warning)


def _date(place: Place) -> str:
    """When a video was made, as far as its file tells; now, for a stream.

    Not the time of the ingest: the same file, ingested again, shall give the same bytes.
    """
    made = None
    if not place.live:
        made = datetime.fromtimestamp(Path(place.address).stat().st_mtime, UTC)
    return (made or datetime.now(UTC)).isoformat(timespec="seconds")
