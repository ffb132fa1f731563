"""How often does search find the right seconds? Demo worlds with known proof, through the program.

    python -m examples.search_recall [--worlds 4] [--each 6] [--seconds 200] [--store FOLDER]

Renders worlds, ingests them into one store with the demo model, and searches for the words of
every question that something in the world proves: in its own video, and in all of them at once,
every block scored or the best segments' only. A hit is right where it overlaps a scene that shows
what was asked for; in all videos at once a scene of another world may show it as well, and counts.
Printed beside it: all there is in random order.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.demo_model.evaluate import ask, seen
from examples.demo_model.questions import Question
from examples.demo_model.render import write_video
from examples.demo_model.world import COLOURS, SHAPES, Scene, World
from store import Store
from streamkv_cli.method.presets import preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.pipeline.answer import Asker, Sampling
from streamkv_cli.pipeline.catalog import EXACT_FRAMES, Catalog
from streamkv_cli.pipeline.search import Hit, search

FPS = 0.5
DEPTHS = (1, 5)


def shows(question: Question, scene: Scene) -> bool:
    """Whether a scene, of any world, shows what a question is about."""
    fact, words = scene.fact, question.text.lower().replace("?", "").replace(",", "").split()
    if fact.thing is None:
        return False
    colour, shape = list(COLOURS)[fact.thing.colour], SHAPES[fact.thing.shape]
    place = fact.place.words.split()
    return {
        "colour": shape in words and all(word in words for word in place),
        "shape": colour in words and all(word in words for word in place),
    }.get(question.kind, colour in words and shape in words)


def rank(hits: Sequence[Hit], scenes: dict[str, list[Scene]]) -> int:
    """Place of the first right hit, 0 for the best; a large number where there is none."""
    for place, hit in enumerate(hits):
        if any(s.start < hit.end and hit.start < s.end for s in scenes[hit.video]):
            return place
    return 10**9


def archive(worlds: Sequence[World], scenes: dict[str, list[Scene]], store: Path) -> Path:
    """A store of these worlds' videos, made unless it is there."""
    if not store.exists():
        with tempfile.TemporaryDirectory() as work:
            videos = []
            for world in worlds:
                path = Path(work) / f"{world.seed}.mp4"
                videos.append(str(write_video(world, path, scenes[path.name][-1].end, fps=10)))
            command = [sys.executable, "-m", "streamkv_cli", "ingest", *videos, "-q", "-m", "demo"]
            subprocess.run([*command, "--store", str(store)], check=True)
    return store


def main() -> None:
    """Print recall."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--each", type=int, default=6, help="questions of a kind and world")
    parser.add_argument("--seconds", type=int, default=200)
    parser.add_argument("--store", help="kept, and used again; a temporary one without it")
    given = parser.parse_args()
    asker = Asker(
        load_model(find_checkpoint("demo"), choose_placement("cpu", "auto")),
        preset("default"),
        Sampling(),
    )
    worlds = [World(given.seed + i, "test") for i in range(given.worlds)]
    scenes = {f"{w.seed}.mp4": seen(w, round(given.seconds * FPS), FPS)[0] for w in worlds}
    found: dict[str, list[int]] = {}
    with (
        tempfile.TemporaryDirectory() as work,
        Store.open(archive(worlds, scenes, Path(given.store or f"{work}/store"))) as store,
    ):
        everything = {
            "all videos": Catalog(store, store.videos()),
            "all videos, summary blocks first": Catalog(store, store.videos(), None, 0),
        }
        for world in worlds:
            name = f"{world.seed}.mp4"
            own = [video for video in store.videos() if video[0].name == name]
            catalogs = {"its own video": Catalog(store, own, None, EXACT_FRAMES), **everything}
            rng = np.random.default_rng(world.seed)
            for question in ask(scenes[name], rng, "test", given.each):
                if not question.proof:
                    continue
                right = {
                    video: [scene for scene in those if shows(question, scene)]
                    for video, those in scenes.items()
                }
                assert right[name]
                for title, catalog in catalogs.items():
                    hits = search(catalog, asker, question.text, max(DEPTHS), -np.inf)
                    found.setdefault(title, []).append(rank(hits, right))
                    if catalog.coarse:
                        continue
                    hits = search(catalog, asker, question.text, 10**4, -np.inf)
                    shuffled = [hits[i] for i in rng.permutation(len(hits))]
                    ranks = found.setdefault(f"{title}, in random order", [])
                    ranks.append(rank(shuffled, right))
    print("searched\tquestions\t" + "\t".join(f"recall@{k}" for k in DEPTHS))
    for title, ranks in found.items():
        shares = (f"{sum(r < k for r in ranks) / len(ranks):.1%}" for k in DEPTHS)
        print(f"{title}\t{len(ranks)}\t" + "\t".join(shares))


if __name__ == "__main__":
    main()
