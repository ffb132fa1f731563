"""Measure answers per byte on held-out worlds, or go on measuring; then write the table.

    python -m examples.quality [--films 10] [--hours 2] [--ten-hours 0] [--write docs]

Every film is rendered to H.264 and decoded once; every cell (a film with a setting) is ingested by
the real pipeline into a real store and asked by the code behind `streamkv ask`. Cells already
measured are skipped, so an interrupted run goes on where it was.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import xxhash

from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model

from .films import Film, film_pool, questions_about, render
from .footage import Footage, RememberingModel
from .measure import Bench
from .report import write_report
from .results import Cell, Results
from .settings import ABLATED, RECENT, Setting, all_settings

FPS = 0.5
"""The program's default: one picture in two seconds."""


def cell_key(film: Film, setting: Setting, each: int, weights: str) -> str:
    """Names a measurement by everything it depends on but the code."""
    method = f"{type(setting.method).__name__} {asdict(setting.method)}"
    text = f"{film} {method} {setting.codec} {each} {weights} {FPS}"
    return xxhash.xxh3_64_hexdigest(text.encode())


def measure(
    films: Sequence[Film],
    settings: Sequence[Setting],
    results: Results,
    model: str,
    each: int,
    work: Path,
) -> int:
    """Measure every cell that is not there yet; returns how many there were.

    Args:
        model: folder or name of the checkpoint.
        each: questions of a kind about one film.
        work: folder for films and stores, which are removed again.
    """
    checkpoint = find_checkpoint(model)
    weights = checkpoint.weights_fingerprint
    wanted = []
    for film in films:
        keyed = [(s, cell_key(film, s, each, weights)) for s in settings if fits(film, s)]
        wanted.append((film, [(s, key) for s, key in keyed if key not in results]))
    missing = sum(len(row) for _, row in wanted)
    if not missing:
        return 0
    loaded = RememberingModel(load_model(checkpoint, choose_placement("cpu", "auto")))
    bench = Bench(loaded, checkpoint, work / "stores")
    done = 0
    for film, row in wanted:
        if not row:
            continue
        questions = questions_about(film, each)
        path = render(film, work)
        footage = Footage.of(path, FPS)
        for setting, key in row:
            started = time.process_time()
            cell = bench.cell(footage, questions, setting.method, setting.codec)
            results.add(
                {
                    "key": key,
                    "film": film.name,
                    "length": film.length,
                    "asked": film.asked,
                    "row": setting.row,
                    "keep": setting.keep,
                    "group": setting.group,
                    "cpu_seconds": round(time.process_time() - started, 2),
                    **cell,
                }
            )
            done += 1
            right = sum(answer["right"] for answer in cell["answers"])
            say = f"{done} of {missing}: {film.name}, {setting.row}, keep {setting.keep:g}"
            print(f"{say}: {right} of {len(cell['answers'])}", file=sys.stderr, flush=True)
        path.unlink()
        bench.clear()
    return done


def complete(
    films: Sequence[Film], settings: Sequence[Setting], results: Results, model: str, each: int
) -> list[Cell]:
    """Cells of the films that every setting of a group has been measured on.

    All rows of a table are to be about the same films and questions.
    """
    weights = find_checkpoint(model).weights_fingerprint
    found: list[Cell] = []
    for group in ("compared", "ablation"):
        mine = [setting for setting in settings if setting.group == group]
        for film in films:
            keys = [cell_key(film, s, each, weights) for s in mine if fits(film, s)]
            if all(key in results for key in keys):
                found += [results.cells[key] for key in keys]
    return found


def fits(film: Film, setting: Setting) -> bool:
    """Whether a setting is measured on a film.

    Full KV beyond ten minutes is longer than anything the model was trained on. Parts of the method
    are taken away on the films of ten minutes only, and the long ones are asked at two kept
    fractions, to keep the whole affordable.
    """
    if film.length == "10 min":
        return True
    if setting.group != "compared" or setting.codec != "raw":
        return False
    if setting.row == "full KV":
        return film.seconds <= 600
    if setting.row == RECENT:
        return film.seconds <= 3600  # its window is the whole film
    return setting.keep == (ABLATED if setting.row == "default" else 0.2)


def main() -> None:
    """Measure what is missing, and write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="demo")
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--films", type=int, default=10, help="films of ten minutes")
    parser.add_argument(
        "--hours", type=int, default=2, help="films of an hour, with their beginnings"
    )
    parser.add_argument("--ten-hours", type=int, default=0, help="films of ten hours, likewise")
    parser.add_argument("--each", type=int, default=6, help="questions of a kind about one film")
    parser.add_argument("--seed", type=int, default=900, help="of the first film")
    parser.add_argument("--rows", nargs="*", help="these rows only")
    parser.add_argument("--results", type=Path, default=Path(".quality/cells.jsonl"))
    parser.add_argument("--work", type=Path, help="for films and stores; temporary without it")
    parser.add_argument("--write", type=Path, help="folder to write quality.md and quality.svg to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    films = film_pool(given.split, given.films, given.hours, given.ten_hours, given.seed)
    settings = [s for s in all_settings() if not given.rows or s.row in given.rows]
    results = Results(given.results)
    work = given.work or Path(tempfile.mkdtemp(prefix="streamkv-quality-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        measure(films, settings, results, given.model, given.each, work)
    except KeyboardInterrupt:
        sys.exit(f"interrupted; {given.results} keeps what was measured, the same command goes on")
    finally:
        if given.work is None:
            shutil.rmtree(work)
    print(write_report(complete(films, settings, results, given.model, given.each), given.write))


if __name__ == "__main__":
    main()
