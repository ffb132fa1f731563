"""`streamkv migrate`: bring a store to the format that this version writes."""

from typing import Annotated

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import JsonOption, QuietOption, StoreOption
from streamkv_cli.console import Console, count

EXAMPLE = "Example: streamkv migrate --dry-run"


@guarded
def migrate(
    store: StoreOption,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring a store of an old format to the one this version writes; nothing is encoded again.

    Old formats are read as they are; writing needs the new one. Segment files stay untouched.
    """
    from store import migrate as migrate_store

    console = Console(json_lines=json, quiet=quiet)
    done = migrate_store(store, dry_run=dry_run)
    inside = f"{count(done.videos, 'video')}, {count(done.segments, 'segment')}"
    console.record(
        "migrated",
        old=done.old,
        new=done.new,
        videos=done.videos,
        segments=done.segments,
        dry_run=dry_run,
    )
    if done.old == done.new:
        console.message(f"the store has format {done.new} already ({inside}); nothing to do")
    else:
        verb = "would bring" if dry_run else "brought"
        console.message(f"{verb} the store from format {done.old} to {done.new}: {inside}")
