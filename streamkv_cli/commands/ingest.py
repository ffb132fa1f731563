"""`streamkv ingest`: stream videos through a model once and keep their KV."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamkv_cli.commands.guard import exit_code, guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    PresetName,
    QuietOption,
    RevisionOption,
    StoreOption,
    VerboseOption,
)
from streamkv_cli.console import Console, ProgressLine, bytes_text, time_text
from streamkv_cli.errors import EXIT_INPUT_FAILED, UsageError, VideoError

if TYPE_CHECKING:
    from store import Store, VideoRecord, VideoState
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.checkpoint import Checkpoint
    from streamkv_cli.model.device import Placement
    from streamkv_cli.model.video_llm import VideoLLM
    from streamkv_cli.pipeline.ingest import Progress

EXAMPLE = "Example: streamkv ingest talk.mp4 --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf"

_METHOD, _MODEL, _VIDEO = "Method", "Model", "Video"


@guarded
def ingest(
    videos: Annotated[
        list[str], typer.Argument(help="Video files, stream URLs, or - for a video on stdin.")
    ],
    store: StoreOption,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="STREAMKV_MODEL",
            help="Model folder or hub id.",
            rich_help_panel=_MODEL,
        ),
    ],
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    fps: Annotated[
        float,
        typer.Option(min=0.001, max=60, help="Frames sampled a second.", rich_help_panel=_VIDEO),
    ] = 0.5,
    decoder: Annotated[
        Literal["auto", "decord", "pyav"], typer.Option(help="Who decodes.", rich_help_panel=_VIDEO)
    ] = "auto",
    skip_damaged: Annotated[
        bool,
        typer.Option(help="Pass over pictures that cannot be decoded.", rich_help_panel=_VIDEO),
    ] = False,
    preset: Annotated[
        PresetName,
        typer.Option(help="Settings the flags below start from.", rich_help_panel=_METHOD),
    ] = "default",
    keep: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1,
            help="Fraction of blocks kept; 1 loses nothing.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="Cut where frames are less similar.",
            rich_help_panel=_METHOD,
            show_default="calibrated from the stream",
        ),
    ] = None,
    min_frames: Annotated[
        int | None, typer.Option(min=1, help="Shortest segment.", rich_help_panel=_METHOD)
    ] = None,
    max_frames: Annotated[
        int | None,
        typer.Option(
            min=2, help="Frames beyond which neighbours are averaged.", rich_help_panel=_METHOD
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=0, help="Tokens of recent KV a segment attends to.", rich_help_panel=_METHOD
        ),
    ] = None,
    init_prompt: Annotated[
        str | None,
        typer.Option(
            help="System message, or @FILE.", rich_help_panel=_METHOD, show_default="built in"
        ),
    ] = None,
    guidance_prompt: Annotated[
        str | None,
        typer.Option(
            help="What to keep, in words, or @FILE.",
            rich_help_panel=_METHOD,
            show_default="built in",
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Stream videos through a Video-LLM once and keep their compressed KV in the store.

    A video that is there already is left alone; an interrupted ingest goes on where it stopped.
    """
    console = Console(json_lines=json, quiet=quiet, verbose=verbose)
    from streamkv_cli.model.checkpoint import find_checkpoint

    checkpoint = find_checkpoint(model, revision)
    session = _Session(
        console,
        checkpoint,
        method=_method(preset, keep, threshold, min_frames, max_frames, window),
        placement=_placement(console, device, dtype),
        fps=fps,
        decoder=decoder,
        skip_damaged=skip_damaged,
        init_prompt=_prompt(init_prompt, "INIT_PROMPT"),
        guidance_prompt=_prompt(guidance_prompt, "GUIDANCE_PROMPT"),
    )
    from store import Store

    with Store.open(store, write=True, create=True) as opened:
        failed = [video for video in videos if not session.ingest(opened, video, len(videos) > 1)]
    if failed:
        console.error(f"{len(failed)} of {len(videos)} videos failed: {', '.join(failed)}")
        raise typer.Exit(EXIT_INPUT_FAILED)


class _Session:
    """Several videos with one model, which is loaded when the first one needs it."""

    def __init__(
        self,
        console: Console,
        checkpoint: "Checkpoint",
        *,
        method: "Method",
        placement: "Placement",
        fps: float,
        decoder: Literal["auto", "decord", "pyav"],
        skip_damaged: bool,
        init_prompt: str,
        guidance_prompt: str,
    ) -> None:
        from streamkv_cli.pipeline.profile import ingest_profile, model_profile

        self.console = console
        self.checkpoint = checkpoint
        self.method = method
        self.placement = placement
        self.fps = fps
        self.decoder: Literal["auto", "decord", "pyav"] = decoder
        self.skip_damaged = skip_damaged
        self.init_prompt = init_prompt
        self.guidance_prompt = guidance_prompt
        self.profile = ingest_profile(
            model_profile(checkpoint, placement.dtype_name, init_prompt),
            method,
            fps,
            guidance_prompt,
        )
        self._model: VideoLLM | None = None

    def ingest(self, store: "Store", source: str, several: bool) -> bool:
        """Ingest one video; with several, a bad one is told of and False, the rest goes on."""
        try:
            self._ingest(store, source)
        except VideoError as error:
            if not several:
                raise
            self.console.error(str(error))
            self.console.record("failed", source=source, error=str(error), exit=exit_code(error))
            return False
        return True

    def _ingest(self, store: "Store", source: str) -> None:
        from streamkv_cli.pipeline.ingest import (
            ResumePoint,
            ingest_video,
            resume_point,
            vision_batch,
        )
        from streamkv_cli.video import open_video

        identity = _fingerprint(source)
        known = {record.video_id: (record, state) for record, state in store.videos()}
        if found := known.get(identity[:16]):
            self._refuse_other_profile(found[0])
            if found[1].complete:
                self._tell_done(*found)
                return
        resume = resume_point(store, identity[:16]) if found else ResumePoint()
        model = self._loaded()
        start = resume.start(vision_batch(model), self.fps)
        with open_video(
            source,
            fps=self.fps,
            decoder=self.decoder,
            start=start,
            skip_damaged=self.skip_damaged,
        ) as reader:
            self._tell_start(reader.info, resume.segments)
            record = self._record(source, identity, model, reader.info.duration)
            with self.console.progress(record.name, reader.info.duration) as line:
                progress = ingest_video(
                    reader,
                    record,
                    store,
                    model,
                    self.method,
                    fps=self.fps,
                    init_prompt=self.init_prompt,
                    guidance_prompt=self.guidance_prompt,
                    resume=resume,
                    on_progress=_Speed(line),
                )
            for warning in reader.warnings:
                self.console.warning(warning)
            decoding = reader.decode_seconds
        self._tell_result(store, record, progress, decoding)

    def _refuse_other_profile(self, record: "VideoRecord") -> None:
        from store import StoreRefused
        from streamkv_cli.pipeline.profile import first_difference

        if difference := first_difference(record.profile, self.profile):
            raise StoreRefused(
                f"{record.name} is in the store with other settings: {difference}",
                f"remove it first (streamkv rm {record.video_id[:8]}), or use another --store",
            )

    def _loaded(self) -> "VideoLLM":
        if self._model is None:
            from streamkv_cli.model.loading import load_model

            self.console.detail(f"loading {self.checkpoint.source}")
            self._model = load_model(self.checkpoint, self.placement)
        return self._model

    def _record(
        self, source: str, identity: str, model: "VideoLLM", duration: float | None
    ) -> "VideoRecord":
        from store import Geometry, VideoRecord

        shape = model.shape
        geometry = Geometry(
            shape.layers, shape.kv_heads, shape.tokens, shape.head_dim, self.placement.dtype_name
        )
        local = Path(source)
        return VideoRecord(
            video_id=identity[:16],
            name=local.name if local.exists() else source,
            source=str(local.resolve()) if local.exists() else source,
            fingerprint=identity,
            profile=self.profile,
            geometry=geometry,
            created=_date(local),
            notes={
                "model": self.checkpoint.source,
                "revision": self.checkpoint.revision,
                "preset": self.method.name,
                "duration": duration,
            },
        )

    def _tell_done(self, record: "VideoRecord", state: "VideoState") -> None:
        self.console.record(
            "ingest", status="already", id=record.video_id, name=record.name, source=record.source,
            segments=state.segments, bytes=state.bytes,
        )  # fmt: skip
        self.console.message(
            f"{record.name} is already ingested: {state.segments} segments, "
            f"{bytes_text(state.bytes)}; nothing to do"
        )

    def _tell_start(self, info: Any, resumed: int) -> None:
        self.console.detail(
            f"{info.name}: {info.width}x{info.height} {info.codec}, "
            f"{time_text(info.duration)}, decoded by {info.decoder}"
        )
        if resumed:
            self.console.message(f"{info.name}: going on after {resumed} segments")

    def _tell_result(
        self, store: "Store", record: "VideoRecord", progress: "Progress", decoding: float
    ) -> None:
        state = next(s for r, s in store.videos() if r.video_id == record.video_id)
        span = state.end - state.start
        hourly = state.bytes / span * 3600 if span > 0 else 0.0
        seconds = {stage: round(value, 3) for stage, value in progress.seconds.items()}
        self.console.record(
            "ingest",
            status="done",
            id=record.video_id,
            name=record.name,
            source=record.source,
            seconds=span,
            frames=progress.frames,
            segments=state.segments,
            resumed=progress.resumed,
            blocks_seen=progress.blocks_seen,
            blocks_kept=progress.blocks_kept,
            bytes=state.bytes,
            bytes_per_hour=round(hourly),
            wall={**seconds, "decoder": round(decoding, 3)},
        )
        kept = progress.blocks_kept / max(progress.blocks_seen, 1)
        stages = ", ".join(
            f"{stage} {seconds.get(stage, 0.0):.1f} s"
            for stage in ("decode", "vision", "language model", "write")
        )
        total = progress.seconds["total"]
        self.console.message(
            f"{record.name}: {time_text(span)} of video, {progress.frames} frames, "
            f"{state.segments} segments\n"
            f"  blocks kept {progress.blocks_kept} of {progress.blocks_seen} ({kept:.1%}), "
            f"{bytes_text(state.bytes)} on disk, {bytes_text(hourly)} an hour of video\n"
            f"  wall time {total:.1f} s ({stages}; decode is the wait for frames, write goes on "
            f"behind)"
        )


class _Speed:
    """Turns progress into a line: times real time, segments, bytes written."""

    def __init__(self, line: ProgressLine) -> None:
        import time

        self._line = line
        self._clock = time.monotonic
        self._begun = self._clock()
        self._first: float | None = None

    def __call__(self, progress: "Progress") -> None:
        if self._first is None:
            self._first = progress.time
        speed = (progress.time - self._first) / max(self._clock() - self._begun, 1e-3)
        self._line.update(
            progress.time,
            f"{speed:.1f}x real time, {progress.segments} segments, "
            f"{bytes_text(progress.bytes)} written",
        )


def _date(source: Path) -> str:
    """When a video was made, as far as its file tells; now, for a stream.

    Not the time of the ingest: the same file, ingested again, shall give the same bytes.
    """
    made = datetime.fromtimestamp(source.stat().st_mtime, UTC) if source.exists() else None
    return (made or datetime.now(UTC)).isoformat(timespec="seconds")


def _fingerprint(source: str) -> str:
    """Identity of a file by content; a stream is a video of its own each time."""
    if Path(source).exists():
        from streamkv_cli.video import fingerprint

        return fingerprint(source)
    if source != "-" and "://" not in source:
        raise VideoError(f"there is no file {source}", "check the path")
    import xxhash

    return xxhash.xxh3_128(f"{source} {datetime.now(UTC).isoformat()}".encode()).hexdigest()


def _method(
    preset: str,
    keep: float | None,
    threshold: float | None,
    min_frames: int | None,
    max_frames: int | None,
    window: int | None,
) -> "Method":
    from streamkv_cli.method import presets

    method = presets.preset(
        preset,
        keep=keep,
        threshold=threshold,
        min_frames=min_frames,
        max_frames=max_frames,
        window=window,
    )
    if method.min_frames > method.max_frames:
        raise UsageError(
            f"--min-frames {method.min_frames} is more than --max-frames {method.max_frames}",
            "make it smaller",
        )
    return method


def _placement(console: Console, device: str, dtype: str) -> "Placement":
    from streamkv_cli.model.device import choose_placement

    placement = choose_placement(device, dtype)
    console.detail(f"device: {placement.reason}")
    return placement


def _prompt(given: str | None, name: str) -> str:
    """A prompt as given, read from @FILE, or the built-in one of that name."""
    from streamkv_cli.model import prompts

    if given is None:
        return str(getattr(prompts, name))
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompt file {given[1:]} cannot be read: {error}") from None
