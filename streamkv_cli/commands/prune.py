"""`streamkv prune`: delete files that no video needs."""

from typing import Annotated

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import JsonOption, QuietOption, StoreOption
from streamkv_cli.commands.room import MaxSizeOption, Room, size_of
from streamkv_cli.console import Console, bytes_text

EXAMPLE = "Example: streamkv prune --dry-run"


@guarded
def prune(
    store: StoreOption,
    dry_run: Annotated[bool, typer.Option(help="Name the files, delete nothing.")] = False,
    max_size: MaxSizeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete leftovers of killed ingests and interrupted removals; living writers keep theirs.

    With --max-size also remove the least recently asked videos until the rest fits.
    """
    from store import Store

    console = Console(json_lines=json, quiet=quiet)
    room = Room(console, size_of(max_size))
    with Store.open(store, write=not dry_run) as opened:
        sizes = {path: path.stat().st_size for path in opened.orphans()}
        pruned = opened.orphans() if dry_run else opened.prune()
        if not dry_run:
            room.make(opened)
    for path in pruned:
        size = sizes.get(path, 0)
        console.record("pruned", path=str(path), bytes=size, dry_run=dry_run)
        console.message(f"{'would delete' if dry_run else 'deleted'} {path} ({bytes_text(size)})")
    if not pruned:
        console.message("nothing to prune")
