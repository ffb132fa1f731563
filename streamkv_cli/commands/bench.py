"""`streamkv bench`: how fast a model is here, beside what else one could do."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    PresetName,
    QuietOption,
    RevisionOption,
)
from streamkv_cli.console import Console, bytes_text

if TYPE_CHECKING:
    from streamkv_cli.bench.figure import Figure

EXAMPLE = "Example: streamkv bench talk.mp4 --model demo --seconds 20 --rounds 1"


@guarded
def bench(
    video: Annotated[str, typer.Argument(help="A video file.", show_default=False)],
    model: Annotated[
        str,
        typer.Option("--model", "-m", envvar="STREAMKV_MODEL", help="Model folder or hub id."),
    ],
    seconds: Annotated[
        float, typer.Option(min=1, help="Ingest so many seconds of the video, from its beginning.")
    ] = 120.0,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Turns of every figure.")] = 3,
    fps: Annotated[float, typer.Option(min=0.001, max=60, help="Frames sampled a second.")] = 0.5,
    preset: Annotated[PresetName, typer.Option(help="Settings of the method.")] = "default",
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure ingest, ask, fetch and start, each beside its peer and the machine's own limit.

    All are measured turn by turn in this run. Nothing is written to any store. Each time is a
    median; "times" is how many times the peer takes, "share" how much of the time is unavoidable.
    """
    console = Console(json_lines=json, quiet=quiet)
    from streamkv_cli.model.checkpoint import find_checkpoint

    checkpoint = find_checkpoint(model, revision)
    from streamkv_cli.bench.run import run_bench
    from streamkv_cli.method.presets import preset as preset_of
    from streamkv_cli.model.device import choose_placement
    from streamkv_cli.model.prompts import GUIDANCE_PROMPT, INIT_PROMPT
    from streamkv_cli.pipeline.session import IngestSession, Settings

    placement = choose_placement(device, dtype)
    settings = Settings(preset_of(preset), fps, INIT_PROMPT, GUIDANCE_PROMPT)
    session = IngestSession(checkpoint, placement, settings)
    console.message(f"device: {placement.reason}")
    found = []
    for figure in run_bench(
        video, seconds, session, settings, rounds, lambda stage: console.message(f"{stage} ...")
    ):
        found.append(figure)
        console.record(
            "figure", model=checkpoint.source, device=placement.reason, **figure.as_json()
        )
    columns = ("figure", "here", "frames/s", "peer", "times", "bound", "share")
    right = "here frames/s peer times bound share"
    console.table(columns, [_row(figure) for figure in found], right)


def _row(figure: "Figure") -> list[str]:
    return [
        figure.name,
        _value(figure, figure.ours),
        f"{rate:,.3g}" if (rate := figure.frames_per_second) is not None else "",
        _value(figure, figure.peer),
        f"{figure.gain:.2f}" if figure.gain is not None else "",
        _value(figure, figure.bound),
        f"{figure.share:.0%}" if figure.share is not None else "",
    ]


def _value(figure: "Figure", values: list[float] | None) -> str:
    from statistics import median

    if values is None:
        return ""
    middle = median(values)
    return f"{bytes_text(round(middle))}/h" if figure.unit == "bytes/h" else f"{middle:.3g} s"
