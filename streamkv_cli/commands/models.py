"""`streamkv models`: which models can be used, and what they would need."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import JsonOption, QuietOption, RevisionOption
from streamkv_cli.console import Console, bytes_text

if TYPE_CHECKING:
    from streamkv_cli.model.cached import Found
    from streamkv_cli.model.families import Family

EXAMPLE = "Example: streamkv models demo"

_FPS, _WINDOW, _BLOCKS = 0.5, 15_000, 64
"""What needs are told for: the defaults of ingest and ask."""


@guarded
def models(
    model: Annotated[
        list[str] | None,
        typer.Argument(help="Model folders or hub ids; what is on this machine without one."),
    ] = None,
    revision: RevisionOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List model families, the models on this machine, and what these need.

    Sizes follow from config.json alone, for bfloat16, one frame every two seconds and nothing
    dropped; `--keep` takes its share of the bytes an hour.
    """
    console = Console(json_lines=json, quiet=quiet)
    from streamkv_cli.model.cached import cached_models, look_up
    from streamkv_cli.model.families import FAMILIES

    if model:
        _show(console, [look_up(source, revision) for source in model])
        return
    _show_families(console, FAMILIES)
    found = cached_models()
    if not json:
        console.text("")
    _show(console, found)


def _show_families(console: Console, families: "dict[str, Family]") -> None:
    rows = []
    for key, family in families.items():
        console.record(
            "family",
            family=key,
            name=family.name,
            frames_per_block=family.frames,
            frame_tokens=family.frame_tokens,
            example=family.example,
        )
        frames = "1 frame" if family.frames == 1 else f"{family.frames} frames"
        tokens = f"{family.frame_tokens} at most" if family.frame_tokens else "fixed"
        rows.append((family.name, key, frames, tokens, family.example))
    console.table(("family", "model_type", "block", "tokens a block", "for example"), rows)


def _show(console: Console, found: "list[Found]") -> None:
    from streamkv_cli.model.needs import needs_of

    rows = []
    for entry in found:
        needs = needs_of(entry.source, entry.config)
        memory = needs.memory_bytes(_WINDOW, _BLOCKS)
        console.record(
            "model",
            model=entry.source,
            revision=entry.revision,
            family=needs.family,
            state=entry.state,
            parameters=needs.parameters,
            weights_bytes=needs.weights_bytes,
            memory_bytes=memory,
            block_tokens=needs.block_tokens,
            frames_per_block=needs.frames,
            token_bytes=needs.token_bytes,
            block_bytes=needs.block_bytes,
            fps=_FPS,
            bytes_per_hour=needs.hour_bytes(_FPS),
        )
        rows.append(
            (
                entry.source,
                needs.family,
                f"{needs.parameters / 1e9:.2g} B"
                if needs.parameters > 1e8
                else f"{needs.parameters / 1e6:.2g} M",
                bytes_text(memory),
                str(needs.block_tokens),
                bytes_text(needs.block_bytes),
                bytes_text(needs.hour_bytes(_FPS)),
                entry.state,
            )
        )
    header = ("model", "family", "size", "memory", "tokens", "a block", "an hour", "state")
    console.table(header, rows, right="size memory tokens")
