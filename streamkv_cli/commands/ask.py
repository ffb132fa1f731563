"""`streamkv ask`: answer questions from what the store holds."""

import io
import sys
from typing import Annotated

import typer

from streamkv_cli.commands.backend import ask_somewhere
from streamkv_cli.commands.bounding import AtOption, FromOption, ToOption
from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    HtmlOption,
    JsonOption,
    ModelOption,
    NoServerOption,
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
from streamkv_cli.commands.paging import AnswersPage, console_for
from streamkv_cli.commands.requests import AskRequest

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
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    html: HtmlOption = None,
    no_server: NoServerOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Answer a question from stored KV: no video is opened, only chosen blocks are read.

    All videos of the store are asked together, unless some are chosen. The answer goes to stdout
    as it comes, its evidence to stderr.
    """
    console = console_for(html, json=json, quiet=quiet, verbose=verbose)
    request = AskRequest(
        store=str(store),
        question=question,
        video=video,
        tag=tag,
        since=since,
        until=until,
        each=each,
        at=at,
        from_=from_,
        to=to,
        null=null,
        blocks=blocks,
        local=local,
        exact_frames=exact_frames,
        preset=preset,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        model=model,
        revision=revision,
        device=device,
    )
    request.check()
    stdin = sys.stdin.buffer if question == "-" else io.BytesIO()
    if html is None:
        ask_somewhere(request, console, stdin, no_server=no_server)
        return
    with AnswersPage(console, html, store):
        ask_somewhere(request, console, stdin, no_server=no_server)
