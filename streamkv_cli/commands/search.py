"""`streamkv search`: the seconds that words fit best."""

from typing import Annotated

import typer

from streamkv_cli.commands.bounding import AtOption, FromOption, ToOption, bounds_of
from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    JsonOption,
    QuietOption,
    RevisionOption,
    SinceOption,
    StoreOption,
    TagFilter,
    UntilOption,
    VerboseOption,
    VideoOption,
)
from streamkv_cli.commands.reader import Reader
from streamkv_cli.commands.select import select_videos
from streamkv_cli.console import Console, span_text
from streamkv_cli.errors import NothingFoundError

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
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The model, where it has moved.",
            rich_help_panel="Model",
            show_default="as ingested",
        ),
    ] = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Find the seconds that words fit best, over all videos: best first, nothing is generated.

    Exit code 1 where nothing reaches the least score.
    """
    console = Console(json_lines=json, quiet=quiet, verbose=verbose)
    bounds = bounds_of(at, from_, to)
    from store import Store

    with Store.open(store) as opened:
        if opened.unlocked:
            console.detail(opened.unlocked)
        chosen = select_videos(opened, video, tags=tag, since=since, until=until)
        reader = Reader(console, chosen, model, revision, device)
        from streamkv_cli.method.presets import preset
        from streamkv_cli.pipeline import search as searching
        from streamkv_cli.pipeline.answer import Asker, Sampling
        from streamkv_cli.pipeline.catalog import EXACT_FRAMES, Catalog

        catalog = Catalog(
            opened,
            reader.readable(chosen),
            bounds,
            EXACT_FRAMES if exact_frames is None else exact_frames,
        )
        method = preset(str(reader.first.notes.get("preset", "default")))
        asker = Asker(reader.load(), method, Sampling())
        hits = searching.search(catalog, asker, words, limit, min_score)
    if not hits:
        raise NothingFoundError(
            f"nothing scores {min_score:g} or more", "a lower --min-score shows the best there is"
        )
    rows = []
    for hit in hits:
        console.record(
            "hit",
            video=hit.video,
            id=hit.video_id,
            start=hit.start,
            end=hit.end,
            score=round(hit.score, 4),
            segment=hit.segment,
        )
        rows.append((hit.video, *span_text(hit.start, hit.end).split("-"), f"{hit.score:.2f}"))
    console.table(("video", "start", "end", "score"), rows, right="start end score")
