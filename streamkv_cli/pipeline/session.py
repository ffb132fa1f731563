"""Ingest videos one after another with one model: skip, go on with, or begin each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xxhash

from store import Geometry, Store, StoreRefused, VideoRecord, VideoState
from streamkv_cli.model.families import FAMILIES, budget
from streamkv_cli.model.identity import pictures_digest
from streamkv_cli.pipeline.profile import first_difference, ingest_profile, model_profile
from streamkv_cli.pipeline.slots import note_layout
from streamkv_cli.video import Place, VideoInfo, fingerprint, locate, open_video

if TYPE_CHECKING:
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.checkpoint import Checkpoint
    from streamkv_cli.model.device import Placement
    from streamkv_cli.model.layout import Layout
    from streamkv_cli.model.video_llm import VideoLLM
    from streamkv_cli.pipeline.ingest import Progress, ResumePoint

Decoder = Literal["auto", "decord", "pyav"]

DEFAULT_CODEC = "raw"


@dataclass(frozen=True)
class Settings:
    """What every video of a session is ingested with.

    Attributes:
        fps: frames sampled a second.
        decoder: who decodes; "auto" lets the program choose.
        skip_damaged: pass over pictures that cannot be decoded.
        init_prompt, guidance_prompt: the words before and behind each segment.
        codec: how blocks are written, a name of `store.CODECS`; None goes on as a video was begun,
            and begins with DEFAULT_CODEC.
        frame_tokens: most visual tokens of a block; None takes the model family's default.
    """

    method: "Method"
    fps: float
    init_prompt: str
    guidance_prompt: str
    decoder: Decoder = "auto"
    skip_damaged: bool = False
    codec: str | None = None
    frame_tokens: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Attributes:
        record, state: as the store has them now.
        progress: of this run; None where the video was already complete.
        decoding: seconds the decoder worked, in its own process.
    """

    record: VideoRecord
    state: VideoState
    progress: "Progress | None" = None
    decoding: float = 0.0


class IngestSession:
    """Several videos with one model, which is loaded when the first one needs it.

    Args:
        checkpoint: of the model.
        placement: where and in which type it runs.
        settings: for all videos of the session.
        on_load: told before the model is loaded.
    """

    def __init__(
        self,
        checkpoint: "Checkpoint",
        placement: "Placement",
        settings: Settings,
        on_load: Callable[[], None] = lambda: None,
    ) -> None:
        self._checkpoint = checkpoint
        self._placement = placement
        self._settings = settings
        self._on_load = on_load
        self._frame_tokens = budget(FAMILIES[checkpoint.family], settings.frame_tokens)
        self._model: VideoLLM | None = None

    def _profile(self, begun: VideoRecord | None) -> Mapping[str, Any]:
        """What the settings make of a video; one that was begun goes on with what it has.

        Raises:
            StoreRefused: it was begun with other settings.
        """
        settings = self._settings
        dtype = self._placement.dtype_name
        stored = begun.profile if begun else None
        profile = ingest_profile(
            model_profile(self._checkpoint, dtype, settings.init_prompt, like=stored),
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
        name = self._settings.codec or DEFAULT_CODEC
        same = name == "bf16" and self._placement.dtype_name == "bfloat16"
        return "raw" if same else name

    def ingest(
        self,
        store: Store,
        source: str,
        on_start: Callable[[VideoInfo, "ResumePoint"], None],
        on_progress: Callable[["Progress", list[str]], None],
    ) -> Outcome:
        """Ingest one video: from its beginning, or what is not there of it.

        Gaps are filled first, each from what lies before it, then the ingest goes on to the end.

        Args:
            store: open for writing.
            source: a path, a stream's URL, or - for standard input.
            on_start: told what was opened and where in it, once for each gap and for the rest.
            on_progress: told after every batch of frames, with the decoder's warnings so far.

        Raises:
            VideoError: the video cannot be read.
            StoreRefused: it is stored with other settings, or being written by another process.
        """
        from streamkv_cli.pipeline.ingest import OvertakenError, resume_point

        place = locate(source)
        identity = identify(place)
        progress, decoding = None, 0.0
        while True:
            found = _known(store, identity)
            profile = self._profile(found[0] if found else None)
            if found is not None and found[1].complete:
                return Outcome(*found, progress, decoding)
            store.refuse_written(identity[:16], place.name)
            resume = resume_point(store, identity[:16] if found else None)
            try:
                progress, seconds = self._ingest_from(
                    resume, store, source, identity, profile, progress, on_start, on_progress
                )
            except OvertakenError:
                continue
            decoding += seconds
            if resume.gap is None:
                done = _known(store, identity)
                assert done is not None
                return Outcome(*done, progress, decoding)

    def _ingest_from(
        self,
        resume: "ResumePoint",
        store: Store,
        source: str,
        identity: str,
        profile: Mapping[str, Any],
        progress: "Progress | None",
        on_start: Callable[[VideoInfo, "ResumePoint"], None],
        on_progress: Callable[["Progress", list[str]], None],
    ) -> tuple["Progress", float]:
        """Fill the next gap, or go on to the end; also returns the seconds the decoder worked."""
        from streamkv_cli.pipeline.ingest import ingest_video, vision_batch

        settings, model, place = self._settings, self._loaded(), locate(source)
        with open_video(
            source,
            fps=settings.fps,
            decoder=settings.decoder,
            start=resume.start(vision_batch(model), settings.fps),
            skip_damaged=settings.skip_damaged,
        ) as reader:
            on_start(reader.info, resume)
            # What a stream says of its length is true of what was written before it, if at all.
            duration = None if place.live else reader.info.duration
            layout = model.lay_out(reader.info.width, reader.info.height, settings.fps)
            progress = ingest_video(
                reader,
                self._record(place, identity, model, layout, duration, profile),
                store,
                model,
                layout,
                settings.method,
                fps=settings.fps,
                duration=duration,
                init_prompt=settings.init_prompt,
                guidance_prompt=settings.guidance_prompt,
                resume=resume,
                progress=progress,
                on_progress=lambda progress: on_progress(progress, reader.warnings),
            )
        return progress, reader.decode_seconds

    def _loaded(self) -> "VideoLLM":
        if self._model is None:
            from streamkv_cli.model.loading import load_model

            self._on_load()
            self._model = load_model(self._checkpoint, self._placement, self._frame_tokens)
        return self._model

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
            notes={
                "model": self._checkpoint.source,
                "revision": self._checkpoint.revision,
                "preset": self._settings.method.name,
                "duration": duration,
                **note_layout(layout),
            },
            codec=profile["codec"],
        )


def _refuse_other_settings(record: VideoRecord, profile: Mapping[str, Any]) -> None:
    if difference := first_difference(record.profile, profile):
        raise StoreRefused(
            f"{record.name} is in the store with other settings: {difference}",
            f"give the stored setting, remove the video (streamkv rm {record.video_id[:8]}), "
            "or use another --store",
        )


def identify(place: Place) -> str:
    """Identity of a video, 32 hex digits: of a file by its content; a stream is new each time.

    Raises:
        VideoError: the file cannot be read.
    """
    if not place.live:
        return fingerprint(place.address)
    return xxhash.xxh3_128(f"{place.name} {datetime.now(UTC).isoformat()}".encode()).hexdigest()


def _known(store: Store, identity: str) -> tuple[VideoRecord, VideoState] | None:
    """A video of the store by its identity."""
    return next((v for v in store.videos() if v[0].video_id == identity[:16]), None)


def _date(place: Place) -> str:
    """When a video was made, as far as its file tells; now, for a stream.

    Not the time of the ingest: the same file, ingested again, shall give the same bytes.
    """
    made = None
    if not place.live:
        made = datetime.fromtimestamp(Path(place.address).stat().st_mtime, UTC)
    return (made or datetime.now(UTC)).isoformat(timespec="seconds")
