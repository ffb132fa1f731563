"""`streamkv ingest`: stream videos through a model once and keep their KV."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamkv_cli.commands.guard import guarded, on_interrupt
from streamkv_cli.commands.ingest_report import Report, View
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
from streamkv_cli.commands.room import MaxSizeOption, Room, size_of
from streamkv_cli.commands.select import parse_tags
from streamkv_cli.commands.sources import LIST, Sources
from streamkv_cli.console import Console
from streamkv_cli.errors import NothingFoundError, UsageError, VideoError

if TYPE_CHECKING:
    from store import Store
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.device import Placement
    from streamkv_cli.pipeline.ahead import Choose
    from streamkv_cli.pipeline.session import Upcoming

EXAMPLE = "Example: streamkv ingest talk.mp4 films/ --model demo --tag place=harbour"

_METHOD, _MODEL, _VIDEO = "Method", "Model", "Video"


@guarded
def ingest(
    videos: Annotated[
        list[str],
        typer.Argument(
            help="Video files, folders, globs, stream URLs; - reads a list of them from stdin, "
            "/dev/stdin is a video on stdin.",
            show_default=False,
        ),
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
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The list on stdin is separated by NUL.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Decoders at once; the model has one video at a time all the same."
        ),
    ] = 2,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Word to find these videos by; new ones are added to those of a stored video.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would be done, load no model.")
    ] = False,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    load_in_4bit: Annotated[
        bool,
        typer.Option(
            "--load-in-4bit",
            help="Hold the weights in 4 bits (needs bitsandbytes); answers are a little worse.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
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
    thumbnails: Annotated[
        bool | None,
        typer.Option(
            "--thumbnails/--no-thumbnails",
            help="Keep small pictures of some frames, for pages that `--html` writes.",
            rich_help_panel=_VIDEO,
            show_default="kept; else as begun",
        ),
    ] = None,
    preset: Annotated[
        PresetName,
        typer.Option(help="Settings the flags below start from.", rich_help_panel=_METHOD),
    ] = "default",
    keep: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1,
            help="Fraction of blocks kept; 1 loses nothing; by default 0.3.",
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
            help="Tokens of recent KV a segment attends to; 15,000 by default, 76 frames at most.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    kv_dtype: Annotated[
        Literal["raw", "bf16", "int8", "int4"] | None,
        typer.Option(
            help="KV on disk: raw as computed, or in fewer bits.",
            rich_help_panel=_METHOD,
            show_default="int8; raw with --keep 1",
        ),
    ] = None,
    max_size: MaxSizeOption = None,
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
    tags = parse_tags(tag)
    sources = Sources(videos, null=null)
    if LIST in videos and sys.stdin is not None and sys.stdin.isatty():
        console.message("reading paths from the terminal, one a line; Ctrl-D ends the list")
    report = Report(console, sources)
    room = Room(console, size_of(max_size))
    if as_stored:
        given = (keep, threshold, min_frames, max_frames, window, init_prompt, guidance_prompt)
        if any(value is not None for value in given):
            raise UsageError("--as-stored takes the method's settings from the store", "leave them")
        from streamkv_cli.pipeline.as_stored import StoredSessions

        choose: Choose = StoredSessions(
            model,
            revision,
            device,
            decoder,
            skip_damaged,
            lambda name: console.waiting(f"loading {name}"),
            tags,
            thumbnails,
        ).session
    elif model is None:
        raise UsageError("ingest needs to know the model", "give --model")
    else:
        from streamkv_cli.model.checkpoint import find_checkpoint

        checkpoint = find_checkpoint(model, revision, download=not dry_run)
        from streamkv_cli.pipeline.session import IngestSession, Settings

        session = IngestSession(
            checkpoint,
            _placement(console, device, dtype, load_in_4bit),
            Settings(
                method=_method(preset, keep, threshold, min_frames, max_frames, window),
                fps=fps,
                init_prompt=_prompt(init_prompt, "INIT_PROMPT"),
                guidance_prompt=_prompt(guidance_prompt, "GUIDANCE_PROMPT"),
                decoder=decoder,
                skip_damaged=skip_damaged,
                codec=kv_dtype,
                frame_tokens=frame_tokens,
                thumbnails=thumbnails,
            ),
            tags=tags,
            on_load=lambda: console.waiting(f"loading {checkpoint.source}"),
        )

        def choose(store: "Store | None", source: str) -> IngestSession:
            return session

    if dry_run:
        _look_only(choose, sources, store, report)
    else:
        _ingest_all(choose, sources, store, jobs, report, room)
    for folder in sources.empty:
        console.warning(f"no video in {folder}")
    report.close()


def _ingest_all(
    choose: "Choose", sources: Sources, place: Path, jobs: int, report: Report, room: Room
) -> None:
    from store import Store
    from streamkv_cli.pipeline.ahead import Ahead

    with (
        Store.open(place, write=True, create=True) as store,
        report.console.overall() as bar,
        Ahead(choose, store, _taker(sources), jobs) as ahead,
    ):
        if not sources.single:
            bar(0, sources.found, "")
        for video in ahead:
            _ingest(store, video, sources, report, room)
            if not sources.single:
                bar(report.count, sources.found, report.in_short)


def _ingest(
    store: "Store", video: "Upcoming", sources: Sources, report: Report, room: Room
) -> None:
    """Ingest one video of several; a bad one is told of, and the rest goes on."""
    from store import StoreDamaged, StoreRefused

    console = report.console
    view = View(console, Path(video.source).name)
    try:
        with view:
            if video.session is None:
                raise video.error or UsageError(f"{video.source} was not looked up")
            outcome = video.session.ingest(
                store, video, view.on_start, view.on_progress, console.warning
            )
    except (VideoError, NothingFoundError, StoreRefused, StoreDamaged) as error:
        if isinstance(error, StoreDamaged) and error.video is None:
            raise  # the store as a whole, so every video
        known = store.find(video.identity[:16]) if video.identity else None
        report.failed(video.source, error, known[1] if known else None)
        if sources.single:
            raise
        console.error(str(error))
    else:
        report.done(video.source, outcome)
        room.make(store, outcome.record.video_id)


def _look_only(choose: "Choose", sources: Sources, place: Path, report: Report) -> None:
    """Say what an ingest would do, as far as that shows without decoding."""
    from store import Store, StoreMissing
    from streamkv_cli.pipeline.ahead import look_up

    take = _taker(sources)
    with ExitStack() as stack:
        try:
            store = stack.enter_context(Store.open(place))
        except StoreMissing:
            store = None
        while (source := take(True)) is not None:
            video = look_up(choose, store, source) if isinstance(source, str) else source
            if video.error is None:
                report.would(video)
                continue
            report.failed(video.source, video.error, None)
            if sources.single:
                raise video.error
            report.console.error(str(video.error))


def _taker(sources: Sources) -> "Callable[[bool], str | Upcoming | None]":
    """Sources as the pipeline takes them: a name that leads nowhere is a video with an error."""
    from streamkv_cli.pipeline.session import Upcoming

    def take(wait: bool) -> str | Upcoming | None:
        named = sources.take(wait)
        if named is None:
            return None
        return Upcoming(named.source, error=named.error) if named.error else named.source

    return take


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


def _placement(console: Console, device: str, dtype: str, four_bit: bool) -> "Placement":
    from streamkv_cli.model.device import FOUR_BIT, choose_placement

    placement = choose_placement(device, dtype, FOUR_BIT if four_bit else None)
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
