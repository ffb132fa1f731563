"""`streamkv repair`: make the index again from the segment files."""

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import JsonOption, QuietOption, StoreOption
from streamkv_cli.console import Console, count

EXAMPLE = "Example: streamkv repair --store /data/streamkv"


@guarded
def repair(store: StoreOption, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Rebuild the index from the segment files alone; needed when it is missing or damaged.

    A video whose files have a gap or damage is kept up to there and named.
    """
    import typer

    from store import rebuild
    from streamkv_cli.errors import EXIT_STORE_REFUSED

    console = Console(json_lines=json, quiet=quiet)
    rebuilt = rebuild(store)
    for damage in rebuilt.damaged:
        console.record("damaged", id=damage.video, segment=damage.segment, error=str(damage))
        console.warning(str(damage))
    console.record("repaired", videos=rebuilt.videos, segments=rebuilt.segments)
    console.message(
        f"index rebuilt: {count(rebuilt.videos, 'video')}, {count(rebuilt.segments, 'segment')}"
    )
    if rebuilt.damaged:
        raise typer.Exit(EXIT_STORE_REFUSED)
