"""`streamkv doctor`: is everything here that the program needs, and does it work."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from streamkv_cli import __version__, settings
from streamkv_cli.commands.guard import exit_code, guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    QuietOption,
    StoreOption,
)
from streamkv_cli.console import Console, bytes_text, count
from streamkv_cli.errors import EXIT_DISK, StreamKVError, UsageError
from streamkv_cli.parsing import known_options

EXAMPLE = "Example: streamkv doctor --model demo"

_LIBRARIES = ("torch", "transformers", "av", "lmdb", "safetensors", "numpy")
_LITTLE_SPACE = 2 << 30
_FRAMES = 5


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        status: "warn" does not keep the program from working.
        detail: one line.
        remedy: what to do; empty where nothing is to be done.
        code: exit code of a failure.
    """

    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""
    code: int = 0


@guarded
def doctor(
    context: typer.Context,
    store: StoreOption,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", envvar="STREAMKV_MODEL", help="Model to look for on this machine."
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check versions, device, decoders (with a real clip), store, disk, model and config file.

    Nothing is downloaded, loaded into a model, or changed. Exits with 0 where nothing fails.
    """
    console = Console(json_lines=json, quiet=quiet)
    commands = context.parent.command.commands  # type: ignore[union-attr]
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": _versions,
        "config": lambda: _config(commands),
        "device": lambda: _device(device, dtype),
        "decord": lambda: _decoder("decord"),
        "pyav": lambda: _decoder("pyav"),
        "store": lambda: _store(store),
        "disk": lambda: _disk(store),
        "model": lambda: _model(model),
    }
    code = 0
    for name, check in checks.items():
        for finding in _run(check):
            code = code or finding.code
            console.record(
                "check",
                name=name,
                status=finding.status,
                detail=finding.detail,
                remedy=finding.remedy,
            )
            if not json:
                console.check(finding.status, name, finding.detail, finding.remedy)
    raise typer.Exit(code)


def _run(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; an error that a user can meet is a finding, too."""
    from store import StoreError

    try:
        yield from check()
    except (StreamKVError, StoreError) as error:
        yield Finding("fail", error.what, error.remedy, exit_code(error))
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        yield Finding("fail", what, "check the disk and its permissions", EXIT_DISK)


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    found = [f"streamkv {__version__}", f"Python {python}"]
    missing = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        lacks = f"{', '.join(found)}; {', '.join(missing)} not installed"
        yield Finding("fail", lacks, "install streamkv again, with pip", UsageError.exit_code)
    else:
        yield Finding("ok", ", ".join(found))


def _config(commands: Mapping[str, Any]) -> Iterator[Finding]:
    path = settings.config_file()
    if not path.exists():
        yield Finding("ok", f"no config file ({path})")
        return
    settings.defaults(lambda: known_options(commands))
    yield Finding("ok", str(path))


def _device(device: str, dtype: str) -> Iterator[Finding]:
    from streamkv_cli.model.device import choose_placement

    placement = choose_placement(device, dtype)
    yield Finding("ok", placement.reason)


def _decoder(name: Literal["decord", "pyav"]) -> Iterator[Finding]:
    """Decode a clip that was made just now, in a child process as every video is."""
    library = {"decord": "decord", "pyav": "av"}[name]
    try:
        version = metadata.version(library)
    except metadata.PackageNotFoundError:
        if name == "pyav":
            raise UsageError("PyAV is not installed", "install streamkv again") from None
        yield Finding("warn", "decord is not installed", "nothing to do: PyAV decodes in its place")
        return
    from streamkv_cli.video import open_video

    with tempfile.TemporaryDirectory(prefix="streamkv-doctor-") as folder:
        clip = _write_clip(Path(folder) / "clip.mp4")
        try:
            with open_video(clip, fps=1, decoder=name, stall_seconds=30) as reader:
                frames = sum(1 for _ in reader)
        except StreamKVError as error:
            if name == "pyav":
                raise
            yield Finding("warn", error.what, "nothing to do: PyAV decodes in its place")
            return
    if frames != _FRAMES:
        what = f"{library} {version} gave {frames} pictures of {_FRAMES}"
        yield Finding("fail", what, "install it again", UsageError.exit_code)
        return
    yield Finding("ok", f"{library} {version} decodes")


def _write_clip(path: Path) -> Path:
    """Five seconds of grey, brighter by the second."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for second in range(_FRAMES):
            pixels = np.full((48, 64, 3), 50 * second, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def _store(place: Path) -> Iterator[Finding]:
    from store import Store, StoreMissing

    try:
        with Store.open(place) as store:
            states = [state for _, state in store.videos()]
            orphans = store.orphans()
            unlocked = store.unlocked
    except StoreMissing as missing:
        empty = not place.exists() or (place.is_dir() and not any(place.iterdir()))
        if not empty:
            raise
        yield Finding("ok", f"none yet: {missing.what}")
        return
    held = sum(state.bytes for state in states)
    yield Finding("ok", f"{place}: {count(len(states), 'video')}, {bytes_text(held)}")
    if partial := sum(not state.complete for state in states):
        what = f"{count(partial, 'video')} ingested in part"
        yield Finding("warn", what, "run its ingest again to go on")
    if orphans:
        yield Finding("warn", f"{count(len(orphans), 'leftover file')}", "streamkv prune")
    if unlocked:
        yield Finding("warn", unlocked, "reading works; writing needs the permission")


def _disk(place: Path) -> Iterator[Finding]:
    there = place.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        yield Finding("warn", f"{there} may not be written", "asking works; ingest needs it")
    if free < _LITTLE_SPACE:
        remedy = "free some space before the next ingest"
        yield Finding("warn", f"{bytes_text(free)} free at {there}", remedy)
    else:
        yield Finding("ok", f"{bytes_text(free)} free at {there}")


def _model(model: str | None) -> Iterator[Finding]:
    if model is None:
        remedy = "give --model, set STREAMKV_MODEL, or write it into the config file"
        yield Finding("warn", "no model is set", remedy)
        return
    from streamkv_cli.model.checkpoint import find_checkpoint

    checkpoint = find_checkpoint(model, download=False)
    size = sum(path.stat().st_size for path in checkpoint.weights)
    what = f"{checkpoint.source}: {checkpoint.family}, {bytes_text(size)} of weights"
    yield Finding("ok", f"{what} in {checkpoint.folder}")
