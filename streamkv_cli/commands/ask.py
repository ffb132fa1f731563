"""`streamkv ask`: answer questions from what the store holds."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from streamkv_cli.commands.asking import Session
from streamkv_cli.commands.bounding import AtOption, FromOption, ToOption, bounds_of
from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    JsonOption,
    PresetName,
    QuietOption,
    RevisionOption,
    SinceOption,
    StoreOption,
    TagFilter,
    UntilOption,
    VerboseOption,
    VideoOption,
)
from streamkv_cli.commands.questions import Question, parse_question, read_questions
from streamkv_cli.commands.reader import Reader
from streamkv_cli.commands.select import select_videos
from streamkv_cli.console import Console
from streamkv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store import VideoRecord, VideoState
    from streamkv_cli.method.presets import Method

    Video = tuple[VideoRecord, VideoState]

EXAMPLE = 'Example: streamkv ask "what happens after the red car leaves?" --video talk.mp4'

_ANSWER, _MODEL, _FETCH = "Answer", "Model", "Retrieval"


@guarded
def ask(
    question: Annotated[
        str, typer.Argument(help="The question, in words; - reads one a line from stdin.")
    ],
    store: StoreOption,
    video: VideoOption = None,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    each: Annotated[
        bool,
        typer.Option("--each", help="Ask every video by itself.", rich_help_panel="Which videos"),
    ] = False,
    at: AtOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    null: Annotated[
        bool,
        typer.Option("-0", "--null", help="Questions on stdin end with NUL, not with a newline."),
    ] = False,
    blocks: Annotated[
        int | None,
        typer.Option(
            min=1, help="Blocks fetched a layer, on average; 64 by default.", rich_help_panel=_FETCH
        ),
    ] = None,
    local: Annotated[
        int | None,
        typer.Option(
            min=0, help="Most recent blocks, always fetched; 8 by default.", rich_help_panel=_FETCH
        ),
    ] = None,
    exact_frames: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Score every block of up to so many frames of video, 16,384 by default; of more, "
            "summary blocks pick segments first.",
            rich_help_panel=_FETCH,
        ),
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(
            help="Retrieval settings.", rich_help_panel=_FETCH, show_default="as ingested"
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of the longest answer.", rich_help_panel=_ANSWER)
    ] = 128,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 is greedy.", rich_help_panel=_ANSWER)
    ] = 0.0,
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Sample among tokens of this share of probability.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Sample among this many tokens.", rich_help_panel=_ANSWER),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32, help="Seed of sampling.", rich_help_panel=_ANSWER)
    ] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The model, where it has moved.",
            rich_help_panel=_MODEL,
            show_default="as ingested",
        ),
    ] = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Answer a question from stored KV: no video is opened, only chosen blocks are read.

    All videos of the store are asked together, unless some are chosen. The answer goes to stdout
    as it comes, its evidence to stderr.
    """
    console = Console(json_lines=json, quiet=quiet, verbose=verbose)
    if temperature == 0 and (top_p is not None or top_k is not None):
        raise UsageError("--top-p and --top-k need sampling", "give a --temperature above 0")
    if null and question != "-":
        raise UsageError("-0 is for questions on standard input", "ask -")
    asked = Question(question, at=at, start=from_, end=to)
    bounds_of(at, from_, to)
    from store import Store

    with Store.open(store) as opened:
        if opened.unlocked:
            console.detail(opened.unlocked)

        def choose(names: "Sequence[str] | None") -> "list[Video]":
            return select_videos(opened, names, tags=tag, since=since, until=until)

        reader = Reader(console, choose(video), model, revision, device)
        method = _method(reader.first, preset, blocks, local)
        from streamkv_cli.pipeline.answer import Asker, Sampling
        from streamkv_cli.pipeline.catalog import EXACT_FRAMES, Shelf

        session = Session(
            console,
            Asker(reader.load(), method, Sampling(max_new_tokens, temperature, top_p, top_k, seed)),
            Shelf(opened, EXACT_FRAMES if exact_frames is None else exact_frames),
            lambda question: reader.readable(choose(question.videos or video)),
            each=each,
        )
        if question == "-":
            for raw in read_questions(sys.stdin.buffer, null):
                session.attempt(lambda raw=raw: _with_defaults(parse_question(raw), asked))  # type: ignore[misc]
            session.finish()
        elif each:
            session.attempt(lambda: asked)
            session.finish()
        else:
            session.ask(asked)


def _with_defaults(question: Question, asked: Question) -> Question:
    """A question from stdin; what it leaves open is as on the command line."""
    return replace(
        question,
        at=asked.at if question.at is None else question.at,
        start=asked.start if question.start is None else question.start,
        end=asked.end if question.end is None else question.end,
    )


def _method(
    record: "VideoRecord", preset: str | None, blocks: int | None, local: int | None
) -> "Method":
    from streamkv_cli.method import presets

    name = preset or str(record.notes.get("preset", "default"))
    method = presets.preset(name, blocks=blocks, local=local)
    if method.local > method.blocks:
        if local is not None:
            raise UsageError(f"--local {local} is more than --blocks {method.blocks}")
        # The preset's recent blocks must not push out everything a smaller budget looks for.
        method = presets.preset(name, blocks=blocks, local=method.blocks // 8)
    return method
