"""Write a world as H.264 in mp4, and print questions about it with their answers and proof.

    python -m examples.demo_model.make_video demo.mp4 [--seed 1] [--seconds 300] [--questions 5]

One JSON object a line: kind, question, answer, and the stretches of seconds that prove it.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from .evaluate import ask, seen
from .render import write_video
from .world import World


def main() -> None:
    """Write the video; print the questions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--seconds", type=float, default=300.0, help="whole scenes within these")
    parser.add_argument("--fps", type=float, default=0.5, help="at which it will be sampled")
    parser.add_argument("--rate", type=float, default=10, help="pictures a second of the file")
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--crf", type=int, default=28)
    parser.add_argument("--questions", type=int, default=1, help="of each kind")
    given = parser.parse_args()
    world = World(given.seed, given.split)
    scenes, _ = seen(world, int(given.seconds * given.fps), given.fps)
    write_video(
        world,
        given.path,
        scenes[-1].end,
        fps=given.rate,
        height=given.height,
        width=given.width,
        crf=given.crf,
    )
    rng = np.random.default_rng(given.seed)
    for question in ask(scenes, rng, given.split, given.questions):
        line = {"kind": question.kind, "question": question.text, "answer": question.answer}
        print(json.dumps({**line, "proof": question.proof}))


if __name__ == "__main__":
    main()
