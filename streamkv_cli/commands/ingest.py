"""`streamkv ingest`: stream videos through a model once and keep their KV."""

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamkv_cli.commands.guard import exit_code, guarded, on_interrupt
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
from streamkv_cli.console import (
    Console,
    ProgressLine,
    bytes_text,
    count,
    hourly,
    span_text,
    time_text,
)
from streamkv_cli.errors import EXIT_INPUT_FAILED, UsageError, VideoError

if TYPE_CHECKING:
    from store import Store
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.device import Placement
    from streamkv_cli.pipeline.ingest import Progress, ResumePoint
    from streamkv_cli.pipeline.session import IngestSession, Outcome
    from streamkv_cli.video import VideoInfo

EXAMPLE = "Example: streamkv ingest talk.mp4 --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf"

_METHOD, _MODEL, _VIDEO = "Method", "Model", "Video"


@guarded
def ingest(
    videos: Annotated[
        list[str], typer.Argument(help="Video files, stream URLs, or - for a video on stdin.")
    ],
    store: StoreOption,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            envvar="STREAMKV_MODEL",
            help="Model folder or hub id.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    as_stored: Annotated[
        bool,
        typer.Option(
            help="Finish videos of the store with the model and settings they have there.",
        ),
    ] = False,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    fps: Annotated[
        float,
        typer.Option(min=0.001, max=60, help="Frames sampled a second.", rich_help_panel=_VIDEO),
    ] = 0.5,
    frame_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most tokens a frame (or the two of a block) is shown in, for models that take "
            "frames of any size.",
            rich_help_panel=_VIDEO,
            show_default="the model's",
        ),
    ] = None,
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
            help="Fraction of blocks kept; 1 loses nothing; by default 0.2.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="Cut where the cosine of adjacent frames is not above this.",
            rich_help_panel=_METHOD,
            show_default="calibrated from the stream",
        ),
    ] = None,
    min_frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Frames a segment has at least; 4 by default.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    max_frames: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Frames a segment holds; beyond, neighbours are averaged; 64 by default.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Tokens of recent KV a segment attends to; 15,000 by default.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    kv_dtype: Annotated[
        Literal["raw", "bf16", "int8", "int4"] | None,
        typer.Option(
            help="KV on disk: raw as computed, or in fewer bits.",
            rich_help_panel=_METHOD,
            show_default="raw, or as begun",
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
    on_interrupt("what was committed is kept, with a file the same command goes on")
    if as_stored:
        given = (keep, threshold, min_frames, max_frames, window, init_prompt, guidance_prompt)
        if any(value is not None for value in given):
            raise UsageError("--as-stored takes the method's settings from the store", "leave them")
        from streamkv_cli.pipeline.as_stored import StoredSessions

        loading = StoredSessions(
            model, revision, device, decoder, skip_damaged, lambda m: console.detail(f"loading {m}")
        )
        _ingest_all(console, loading.session, store, videos)
        return
    if model is None:
        raise UsageError("ingest needs to know the model", "give --model")
    from streamkv_cli.model.checkpoint import find_checkpoint

    checkpoint = find_checkpoint(model, revision)
    from streamkv_cli.pipeline.session import IngestSession, Settings

    session = IngestSession(
        checkpoint,
        _placement(console, device, dtype),
        Settings(
            method=_method(preset, keep, threshold, min_frames, max_frames, window),
            fps=fps,
            init_prompt=_prompt(init_prompt, "INIT_PROMPT"),
            guidance_prompt=_prompt(guidance_prompt, "GUIDANCE_PROMPT"),
            decoder=decoder,
            skip_damaged=skip_damaged,
            codec=kv_dtype,
            frame_tokens=frame_tokens,
        ),
        on_load=lambda: console.detail(f"loading {checkpoint.source}"),
    )
    _ingest_all(console, lambda *_: session, store, videos)


def _ingest_all(
    console: Console,
    session: Callable[["Store", str], "IngestSession"],
    store: Path,
    videos: list[str],
) -> None:
    """Ingest every video with the session that is for it."""
    from store import Store

    with Store.open(store, write=True, create=True) as opened:
        failed = [v for v in videos if not _ingest(console, session, opened, v, len(videos))]
    if failed:
        names = ", ".join(_shown(video) for video in failed)
        console.error(f"{len(failed)} of {len(videos)} videos failed: {names}")
        raise typer.Exit(EXIT_INPUT_FAILED)


def _ingest(
    console: Console,
    session: Callable[["Store", str], "IngestSession"],
    store: "Store",
    source: str,
    of: int,
) -> bool:
    """Ingest one video of several; a bad one is told of and False, the rest goes on."""
    from store import StoreRefused

    view = _View(console, Path(source).name)
    try:
        with view:
            chosen = session(store, source)
            outcome = chosen.ingest(store, source, view.on_start, view.on_progress)
    except (VideoError, StoreRefused) as error:
        console.record("failed", source=_shown(source), error=str(error), exit=exit_code(error))
        if of == 1:
            raise
        console.error(str(error))
        return False
    if outcome.progress is None:
        _tell_already(console, source, outcome)
    else:
        _tell_done(console, outcome, outcome.progress)
    return True


def _shown(source: str) -> str:
    """A source as it may be shown: a URL without its password."""
    return re.sub(r"//[^/@]*@", "//", source)


class _View:
    """Shows one ingest while it runs: times real time, segments, bytes written."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._stack = ExitStack()
        self._warned = 0
        self._left = False
        self._line: ProgressLine | None = None
        self._begun = (0.0, 0.0)

    def __enter__(self) -> "_View":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def on_start(self, info: "VideoInfo", resume: "ResumePoint") -> None:
        self._console.detail(
            f"{info.name}: {info.width}x{info.height} {info.codec}, "
            f"{time_text(info.duration)}, decoded by {info.decoder}"
        )
        if resume.gap is not None:
            gap = span_text(resume.gap.start, resume.gap.end or resume.gap.start)
            self._console.message(f"{info.name}: filling the gap {gap}")
        elif resume.number:
            self._console.message(f"{info.name}: going on after {count(resume.number, 'segment')}")
        self._stack.close()  # the line of the gap before, and its reader's warnings
        self._warned = 0
        self._line = self._stack.enter_context(self._console.progress(self._name, info.duration))

    def on_progress(self, progress: "Progress", warnings: list[str]) -> None:
        assert self._line is not None
        for warning in warnings[self._warned :]:
            self._console.warning(warning)
        self._warned = len(warnings)
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


def _tell_already(console: Console, source: str, outcome: "Outcome") -> None:
    record, state = outcome.record, outcome.state
    renamed = "" if Path(source).name == record.name else f" as {record.name}"
    console.record(
        "ingest",
        status="already",
        id=record.video_id,
        name=record.name,
        source=record.source,
        segments=state.segments,
        bytes=state.bytes,
    )
    console.message(
        f"{Path(source).name} is already ingested{renamed}: {count(state.segments, 'segment')}, "
        f"{bytes_text(state.bytes)}; nothing to do"
    )


def _tell_done(console: Console, outcome: "Outcome", progress: "Progress") -> None:
    record, state = outcome.record, outcome.state
    span = state.end - state.start
    per_hour = hourly(state.bytes, span)
    seconds = {stage: round(value, 3) for stage, value in progress.seconds.items()}
    console.record(
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
        bytes_per_hour=round(per_hour),
        wall={**seconds, "decoder": round(outcome.decoding, 3)},
    )
    kept = progress.blocks_kept / max(progress.blocks_seen, 1)
    resumed = f", {progress.segments} of them in this run" if progress.resumed else ""
    stages = ", ".join(
        f"{stage} {seconds.get(stage, 0.0):.1f} s"
        for stage in ("decode", "vision", "language model", "write")
    )
    console.message(
        f"{record.name}: {time_text(span)} of video, {count(state.frames, 'frame')}, "
        f"{count(state.segments, 'segment')}{resumed}\n"
        f"  blocks kept {progress.blocks_kept} of {progress.blocks_seen} ({kept:.1%}), "
        f"{bytes_text(state.bytes)} on disk, {bytes_text(per_hour)} an hour of video\n"
        f"  wall time {seconds['total']:.1f} s ({stages}; decode is the wait for frames, write "
        f"goes on behind)"
    )


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
        if min_frames is None:
            return replace(method, min_frames=method.max_frames)
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
