"""`streamkv search`: the seconds that words fit best."""

from typing import Annotated

import typer

from streamkv_cli.commands.backend import search_somewhere
from streamkv_cli.commands.bounding import AtOption, FromOption, ToOption
from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    JsonOption,
    ModelOption,
    NoServerOption,
    QuietOption,
    RevisionOption,
    SinceOption,
    StoreOption,
    TagFilter,
    UntilOption,
    VerboseOption,
    VideoOption,
)
from streamkv_cli.commands.requests import SearchRequest
from streamkv_cli.console import Console

EXAMPLE = 'Example: streamkv search "a person opens the door" --limit 5'


@guarded
def search(
    words: Annotated[str, typer.Argument(help="What to look for, in words.")],
    store: StoreOption,
    video: VideoOption = None,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    at: AtOption = None,
    from_: FromOption = None,
    to: ToOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most stretches shown.")] = 10,
    min_score: Annotated[
        float, typer.Option(help="Least score shown, in standard deviations above the mean.")
    ] = 1.0,
    exact_frames: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Score every block of up to so many frames of video, 16,384 by default; of more, "
            "summary blocks pick segments first.",
        ),
    ] = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    no_server: NoServerOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Find the seconds that words fit best, over all videos: best first, nothing is generated.

    Exit code 1 where nothing reaches the least score.
    """
    console = Console(json_lines=json, quiet=quiet, verbose=verbose)
    request = SearchRequest(
        store=str(store),
        words=words,
        video=video,
        tag=tag,
        since=since,
        until=until,
        at=at,
        from_=from_,
        to=to,
        limit=limit,
        min_score=min_score,
        exact_frames=exact_frames,
        model=model,
        revision=revision,
        device=device,
    )
    request.check()
    search_somewhere(request, console, no_server=no_server)
