"""What summary blocks first loses against scoring every block: demo worlds, through the program.

    python -m examples.coarse_loss [--worlds 12] [--each 1] [--blocks 4 8 64] [--store FOLDER]

Asks every question twice over all videos at once: with every block scored, and with the segments
picked by their summary blocks first, as it is done in large archives. Printed for each budget:
answers that changed, right answers of both, the share of the exactly chosen blocks that were chosen
as well, and the median time to the first token of both.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean, median

import numpy as np

from examples.demo_model.evaluate import ask, seen
from examples.demo_model.questions import Question
from examples.demo_model.world import World
from examples.search_recall import FPS, archive
from store import Store
from streamkv_cli.method.presets import Method, preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.answer import Asker, Sampling
from streamkv_cli.pipeline.catalog import Catalog
from streamkv_cli.pipeline.retrieve import Retriever
from streamkv_cli.pipeline.slots import layout_of

Block = tuple[int, str, int, int]


def chosen(asker: Asker, catalog: Catalog, question: str) -> set[Block]:
    """Blocks that a question chooses by score: layer, video, segment, row."""
    model = asker.model
    prompt = model.prompt(catalog.records[0].profile["init_prompt"], question)
    layouts = [layout_of(record, model) for record in catalog.records]
    retriever = Retriever(catalog, asker.prefix(prompt), layouts, asker.method)
    model.probe(prompt, retriever.choose, retriever.place)
    retriever.settle()
    model.probe(prompt, retriever.choose, retriever.place)
    found = set()
    for layer in range(catalog.layers):
        refs = retriever.summaries(layer).refs(retriever.chosen(layer)[0])
        found |= {(layer, ref.video_id, ref.segment, ref.row) for ref in refs}
    return found


def compare(
    model: VideoLLM, method: Method, store: Store, questions: list[Question]
) -> dict[str, float]:
    """The figures for one budget."""
    asker = Asker(model, method, Sampling(max_new_tokens=24))
    exact = Catalog(store, store.videos(), exact_frames=10**9)
    coarse = Catalog(store, store.videos(), exact_frames=0)
    segments = sum(state.held for _, state in store.videos())
    changed, right = 0, [0, 0]
    common: list[float] = []
    seconds: tuple[list[float], list[float]] = ([], [])
    for question in questions:
        answers = [asker.answer(catalog, question.text) for catalog in (exact, coarse)]
        changed += answers[0].text != answers[1].text
        for place, answer in enumerate(answers):
            right[place] += answer.text == question.answer
            seconds[place].append(answer.seconds_to_first_token)
        both = [chosen(asker, catalog, question.text) for catalog in (exact, coarse)]
        common.append(len(both[0] & both[1]) / len(both[0]))
    return {
        "blocks": method.blocks,
        "segments": segments,
        "questions": len(questions),
        "changed": changed,
        "right_exact": right[0],
        "right_coarse": right[1],
        "common": round(mean(common), 4),
        "first_token_exact": round(median(seconds[0]), 3),
        "first_token_coarse": round(median(seconds[1]), 3),
    }


def main() -> None:
    """Print one line a budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--each", type=int, default=1, help="questions of a kind and world")
    parser.add_argument("--seconds", type=int, default=200)
    parser.add_argument("--blocks", type=int, nargs="+", default=[4, 8, 64])
    parser.add_argument("--store", help="kept, and used again; a temporary one without it")
    given = parser.parse_args()
    model = load_model(find_checkpoint("demo"), choose_placement("cpu", "auto"))
    worlds = [World(given.seed + i, "test") for i in range(given.worlds)]
    scenes = {f"{w.seed}.mp4": seen(w, round(given.seconds * FPS), FPS)[0] for w in worlds}
    questions = []
    for world in worlds:
        rng = np.random.default_rng(world.seed)
        questions += ask(scenes[f"{world.seed}.mp4"], rng, "test", given.each)
    with (
        tempfile.TemporaryDirectory() as work,
        Store.open(archive(worlds, scenes, Path(given.store or f"{work}/store"))) as store,
    ):
        for blocks in given.blocks:
            method = preset("default", blocks=blocks, local=0)
            print(json.dumps(compare(model, method, store, questions)), flush=True)


if __name__ == "__main__":
    main()
