"""`streamkv chat`: question after question, each with what was said before it."""

from typing import Annotated

import typer

from streamkv_cli.commands.backend import Answerer
from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    DeviceOption,
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
from streamkv_cli.commands.requests import AskRequest
from streamkv_cli.commands.talking import ChatConsole, Talk

EXAMPLE = 'Example: streamkv chat --video talk.mp4 <<< "what happens first?"'


@guarded
def chat(
    store: StoreOption,
    video: VideoOption = None,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    blocks: Annotated[
        int | None,
        typer.Option(min=1, help="Blocks fetched a layer, on average; 64 by default."),
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(help="Retrieval settings.", show_default="as ingested"),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the longest answer.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Each question by itself: nothing said before is read."),
    ] = False,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    no_server: NoServerOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Ask question after question; each is read behind those before it, with their evidence.

    /new forgets what was said, /exit or Ctrl-D ends, Ctrl-C stops an answer. Questions may also
    come from a pipe, one a line.
    """
    console = ChatConsole(json_lines=json, quiet=quiet, verbose=verbose)
    request = AskRequest(
        store=str(store),
        question="",
        video=video,
        tag=tag,
        since=since,
        until=until,
        blocks=blocks,
        preset=preset,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        model=model,
        revision=revision,
        device=device,
    )
    request.check()
    with Answerer(request.store, no_server=no_server) as answerer:
        Talk(request, console, answerer, alone=alone).run()
