"""How fast the program is here, beside what one could do instead and what the machine can do.

    make bench                                          # half an hour on two cores, 13 GB of disk
    python -m examples.benchmark --hours 0.167 1 --index-hours 1 100        # sooner

One run: the figures of `streamkv bench` for the model that comes with the program and for one of
the published 0.5B shape with random weights; what ingest and ask cost as a film grows, in
processes of their own; and what choosing blocks costs as an archive grows. `--write docs` puts
tables and plot into docs/performance.md and docs/growth.svg, and everything as JSON into
docs/performance.json.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from examples.demo_model.evaluate import seen
from examples.demo_model.render import write_video
from examples.demo_model.world import World
from examples.quality.report import BEGIN, END

HERE = Path(__file__).resolve().parent
PROGRAM = [sys.executable, "-m", "streamkv_cli"]
QUESTION = "what colour was the ring on the plain brown ground?"


def film(path: Path, hours: float, seed: int = 5) -> Path:
    """A film of the demo world, one picture a second."""
    world = World(seed, "test")
    scenes, _ = seen(world, int(hours * 1800), 0.5)
    write_video(world, path, scenes[-1].end, fps=1, height=72, width=96, crf=28)
    return path


def bench(video: Path, model: str, *flags: str) -> list[dict[str, Any]]:
    """The figures of `streamkv bench --json`."""
    command = [*PROGRAM, "bench", str(video), "--model", model, "--json", *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def shape_checkpoint(folder: Path) -> Path:
    """A checkpoint of the published 0.5B shape with random weights."""
    from examples import performance
    from streamkv_cli.model.device import choose_placement

    model = performance.build("llava-0.5b", choose_placement("cpu", "bfloat16"))
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    half = [0.5, 0.5, 0.5]
    pictures = {
        "do_resize": True,
        "size": {"height": 384, "width": 384},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": half,
        "image_std": half,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    return folder


def grow(folder: Path, hours: float, rounds: int) -> dict[str, Any]:
    """What a film of so many hours costs: to ingest, on disk, and to ask."""
    video = film(folder / f"{hours:g}.mp4", hours)
    store = ("--store", str(folder / f"{hours:g}"))
    ingest = process(*PROGRAM, "ingest", str(video), "--model", "demo", "--json", *store)
    ask = [*PROGRAM, "ask", QUESTION, "--no-server", "--json", *store]
    asked = [process(*ask) for _ in range(rounds)]
    video.unlink()
    done = json.loads(ingest.out.splitlines()[-1])
    answers = [json.loads(run.out.splitlines()[-1]) for run in asked]
    return {
        "hours": hours,
        "frames": done["frames"],
        "ingest_seconds": done["wall"]["total"],
        "ingest_peak_bytes": ingest.peak,
        "ingest_own_bytes": ingest.own,
        "bytes": done["bytes"],
        "index_bytes": (folder / f"{hours:g}" / "index.lmdb" / "data.mdb").stat().st_blocks * 512,
        "first_token_seconds": median(a["seconds_to_first_token"] for a in answers),
        "ask_seconds": median(run.seconds for run in asked),
        "ask_peak_bytes": max(run.peak for run in asked),
        "ask_own_bytes": max(run.own for run in asked),
        "answer": answers[0]["answer"],
        "blocks_stored": answers[0]["blocks_stored"],
        "blocks_fetched": answers[0]["blocks_fetched"],
    }


def least_memory() -> dict[str, int]:
    """What no ingest with the demo model can do without.

    Own memory of a process that has imported the libraries, weights, and the window's KV.
    """
    from streamkv_cli.method.presets import preset
    from streamkv_cli.model.checkpoint import find_checkpoint
    from streamkv_cli.model.device import choose_placement
    from streamkv_cli.model.needs import needs_of, read_config

    folder = find_checkpoint("demo").folder
    needs = needs_of("demo", read_config(folder / "config.json"))
    wide = choose_placement("cpu", "auto").dtype.itemsize // 2  # the sizes are for two bytes
    libraries = "import torch, transformers, av, numpy, lmdb; torch.ones(9) @ torch.ones(9)"
    window = preset("default").window_blocks or 0
    return {
        "libraries_bytes": process(sys.executable, "-c", libraries).own,
        "weights_bytes": needs.weights_bytes * wide,
        "window_bytes": window * needs.block_bytes * wide,
    }


def index(hours: list[int], folder: Path) -> list[dict[str, Any]]:
    """What choosing blocks costs in archives of so many hours: see `index_scale`."""
    command = [sys.executable, "-m", "examples.index_scale", "--folder", str(folder)]
    command += ["--hours", *map(str, hours)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@dataclass(frozen=True)
class Run:
    """What a process did: its stdout, wall seconds, and peaks of memory in bytes.

    Attributes:
        peak: resident, pages of the index that the system shares and takes back included.
        own: of that, what the process has allocated itself (0 where the system does not tell).
    """

    out: str
    seconds: float
    peak: int
    own: int


def process(*command: str) -> Run:
    """Run a command and watch it."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(command, stdout=out)
        own = peak = 0
        while child.poll() is None:
            # Not the peak that `wait` tells: it begins with that of the process it was forked from.
            now = _memory(child.pid)
            own, peak = max(own, now["RssAnon"]), max(peak, now["VmHWM"])
            time.sleep(0.02)
        taken = time.perf_counter() - begun
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command)
        out.seek(0)
        return Run(out.read(), taken, peak, own)


def _memory(pid: int) -> dict[str, int]:
    """Bytes of own memory now, and of the most that was resident; 0 where no one tells."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        status = ""
    found = {name: re.search(rf"{name}:\s*(\d+)", status) for name in ("RssAnon", "VmHWM")}
    return {name: int(match[1]) * 1024 if match else 0 for name, match in found.items()}


def machine() -> str:
    """What it is measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = lines[0].partition(":")[2].strip() if lines else cpu
    return f"{os.cpu_count()} cores of {cpu}"


def commit() -> str:
    """The commit that is measured, where that can be told."""
    command = ["git", "-C", str(HERE.parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> None:
    """Measure; print; write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, nargs="+", default=[1 / 6, 1, 10])
    parser.add_argument(
        "--index-hours", type=int, nargs="*", default=[1, 100, 1000], help="of archives"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape-seconds", type=float, default=16, help="of film; 0 leaves it out")
    parser.add_argument("--write", type=Path, metavar="DOCS")
    given = parser.parse_args()
    from examples import benchmark_page as page

    found: dict[str, Any] = {"machine": machine(), "commit": commit(), "figures": {}}
    found |= {"memory": least_memory(), "growth": []}
    with tempfile.TemporaryDirectory(prefix="streamkv-bench-") as name:
        folder = Path(name)
        video = film(folder / "film.mp4", 1 / 6)
        rounds = ("--rounds", str(given.rounds))
        found["figures"]["demo"] = bench(video, "demo", "--seconds", "600", *rounds)
        print(page.figures(found["figures"]["demo"], "demo model, ten minutes"), flush=True)
        if given.shape_seconds:
            model = str(shape_checkpoint(folder / "llava-0.5b"))
            flags = ("--seconds", str(given.shape_seconds), "--rounds", "1")
            found["figures"]["llava-0.5b"] = bench(video, model, *flags)
            title = f"0.5B shape, random weights, {given.shape_seconds:g} s"
            print(page.figures(found["figures"]["llava-0.5b"], title), flush=True)
        for hours in given.hours:
            found["growth"].append(grow(folder, hours, given.rounds))
            print(page.growth(found["growth"][-1:], found["memory"]), flush=True)
        found["index"] = index(given.index_hours, folder) if given.index_hours else []
        print(page.index(found["index"]), flush=True)
    if given.write:
        page.write(found, given.write, BEGIN, END)


if __name__ == "__main__":
    main()
