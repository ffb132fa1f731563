"""Measure a trained model on held-out worlds: full attention over 64 frames, by kind of question.

python -m examples.demo_model.evaluate FOLDER [--worlds 64] [--split test] [--seed 1000]
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

from .clips import DARK
from .language import answers_right
from .network import LAYERS, SIDE
from .packed import packed_forward
from .packing import Batch, Tokens, pack
from .questions import Asker, Kind, Question
from .render import draw, pictures_of
from .tower import frame_tokens
from .world import Scene, Split, World

FRAMES = 64
KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind != "guide")


def seen(world: World, frames: int, fps: float) -> tuple[list[Scene], list[tuple[Scene, float]]]:
    """Whole scenes that `frames` sampled pictures show, and the pictures: (scene, second).

    A scene that no sampled picture shows clearly is no fact of the sampled video.
    """
    whole = [scene for scene in world.until(frames / fps) if scene.end <= frames / fps]
    pictures = []
    clear: set[int] = set()
    number = 0
    for place, scene in enumerate(whole):
        while number / fps < scene.end:
            second = number / fps
            pictures.append((scene, second))
            if scene.brightness(second) > DARK and (
                scene.fact.thing is None or scene.shows_thing(second)
            ):
                clear.add(place)
            number += 1
    assert len(clear) == len(whole), "scenes last long enough to be seen"
    return whole, pictures


def ask(
    scenes: Sequence[Scene], rng: np.random.Generator, split: Split, each: int
) -> list[Question]:
    """`each` questions of every kind that these scenes admit, no text twice."""
    asker = Asker(scenes, rng, split)
    asked: dict[str, Question] = {}
    for kind in KINDS:
        found = [q for q in (asker.ask(kind) for _ in range(4 * each)) if q is not None]
        fresh = {q.text: q for q in found if q.text not in asked}
        asked.update(list(fresh.items())[:each])
    return list(asked.values())


@torch.inference_mode()
def evaluate(
    model: Any,
    words: Any,
    *,
    worlds: int,
    split: Split = "test",
    seed: int = 1000,
    frames: int = FRAMES,
    fps: float = 0.5,
    each: int = 4,
) -> dict[str, tuple[int, int]]:
    """Right answers and questions by kind, over worlds that training never drew.

    Args:
        each: questions of a kind about one world.
    """
    tokens = Tokens(words)
    prefix = torch.tensor(tokens.prefix)
    count: dict[str, list[float]] = defaultdict(list)
    for number in range(worlds):
        world = World(seed + number, split)
        scenes, shown = seen(world, frames, fps)
        pictures = pictures_of(world, [s for s, _ in shown], [t for _, t in shown])
        pixels = draw(pictures, SIDE, SIDE, torch.Generator().manual_seed(seed + number))
        video = frame_tokens(model, pixels).unsqueeze(0)
        questions = ask(scenes, np.random.default_rng([seed, number]), split, each)
        kept = torch.arange(video.shape[1]).unsqueeze(0)
        batch = Batch(
            video,
            torch.tensor([video.shape[1]]),
            [kept] * LAYERS,
            **pack([questions], tokens),
            proof=torch.zeros(1, len(questions), video.shape[1], dtype=torch.bool),
            source=torch.zeros(1, len(questions), video.shape[1], dtype=torch.bool),
            before=torch.full((1, video.shape[1], 2), -100),
            motion=torch.full((1, video.shape[1]), -100),
            showing=torch.full((1, video.shape[1]), -100),
            begins=torch.full((1, video.shape[1]), -100),
            questions=[questions],
        )
        answers = packed_forward(model, prefix, batch)
        for kind, value in answers_right(batch, answers.logits, answers.labels):
            count[kind].append(value)
    return {kind: (int(sum(count[kind])), len(count[kind])) for kind in KINDS}


def table(result: dict[str, tuple[int, int]]) -> str:
    """Accuracy by kind and over all questions about the world, as lines of a Markdown table."""
    inside = [value for kind, value in result.items() if kind != "off-world"]
    rows = {**result, "all but off-world": tuple(map(sum, zip(*inside, strict=True)))}
    lines = ["| kind | right | asked | accuracy |", "|---|---|---|---|"]
    for kind, (right, asked) in rows.items():
        lines.append(f"| {kind} | {right} | {asked} | {100 * right / asked:.1f} % |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worlds", type=int, default=64)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--fps", type=float, default=0.5)
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(
        given.folder, dtype=torch.float32
    ).eval()
    words = AutoTokenizer.from_pretrained(given.folder)
    result = evaluate(
        model,
        words,
        worlds=given.worlds,
        split=given.split,
        seed=given.seed,
        frames=given.frames,
        fps=given.fps,
    )
    print(json.dumps(result) if given.json else table(result))


if __name__ == "__main__":
    main()
