"""Measure a trained model through the program: rendered mp4, `streamkv ingest`, `streamkv ask`.

    python -m examples.demo_model.through_program FOLDER [--keep 0.2] [--worlds 4]

Every world is written as H.264, ingested by the command line into a fresh store, and asked about by
the function behind `streamkv ask`, so that hundreds of questions need not load the model each.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from store import Store
from streamkv_cli.method.presets import preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.prompts import GUIDANCE_PROMPT, INIT_PROMPT
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.answer import Sampling, answer_question

from .evaluate import KINDS, ask, seen, table
from .questions import Question
from .render import write_video
from .world import World


def measure_world(
    model: VideoLLM, folder: Path, world: World, given: argparse.Namespace, work: Path
) -> list[tuple[Question, str]]:
    """Questions about one world with the program's answers."""
    scenes, _ = seen(world, round(given.seconds * given.fps), given.fps)
    video = write_video(
        world,
        work / f"{world.seed}.mp4",
        scenes[-1].end,
        fps=given.rate,
        height=given.height,
        width=given.width,
        codec=given.codec,
    )
    store_path = work / f"store-{world.seed}"
    command = [sys.executable, "-m", "streamkv_cli", "ingest", str(video), "--quiet"]
    command += ["--store", str(store_path), "--model", str(folder)]
    command += ["--fps", str(given.fps), "--keep", str(given.keep), "--dtype", given.dtype]
    command += ["--init-prompt", given.init_prompt, "--guidance-prompt", given.guidance_prompt]
    for name in ("threshold", "window"):
        if (value := getattr(given, name)) is not None:
            command += [f"--{name}", str(value)]
    subprocess.run(command, check=True)
    questions = ask(scenes, np.random.default_rng(world.seed), "test", given.each)
    method = preset("default", keep=given.keep, blocks=given.blocks)
    answered = []
    with Store.open(store_path) as store:
        records = [record for record, _ in store.videos()]
        for question in questions:
            answer = answer_question(
                store,
                records,
                model,
                method,
                question.text,
                init_prompt=given.init_prompt,
                sampling=Sampling(max_new_tokens=12),
            )
            answered.append((question, answer.text))
    return answered


def main() -> None:
    """Print the accuracy by kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=128.0)
    parser.add_argument("--fps", type=float, default=0.5)
    parser.add_argument("--rate", type=int, default=10, help="frames a second of the video")
    parser.add_argument("--keep", type=float, default=0.2)
    parser.add_argument("--threshold", type=float, help="of cuts; calibrated without it")
    parser.add_argument("--blocks", type=int, default=64)
    parser.add_argument("--window", type=int, help="tokens a segment attends to")
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--codec", default="libx264", help="of the video, as libav calls it")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--init-prompt", default=INIT_PROMPT)
    parser.add_argument("--guidance-prompt", default=GUIDANCE_PROMPT)
    parser.add_argument("--each", type=int, default=3, help="questions of a kind and world")
    parser.add_argument("--wrong", action="store_true", help="show wrong answers")
    given = parser.parse_args()
    placement = choose_placement("cpu", given.dtype)
    model = load_model(find_checkpoint(str(given.folder)), placement)
    right: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as work:
        for seed in range(given.seed, given.seed + given.worlds):
            world = World(seed, "test")
            for question, text in measure_world(model, given.folder, world, given, Path(work)):
                right[question.kind].append(text == question.answer)
                if given.wrong and text != question.answer:
                    print(f"{question.kind}: {question.text} {question.answer!r}, said {text!r}")
    print(table({kind: (sum(right[kind]), len(right[kind])) for kind in KINDS if right[kind]}))


if __name__ == "__main__":
    main()
