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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
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


@dataclass(frozen=True)
class Trial:
    """How a world becomes a video, a memory and answers.

    Attributes:
        seconds: of video, whole scenes within these.
        rate: frames a second of the video.
        codec: of the video, as libav calls it.
        fps: frames sampled a second.
        threshold: of cuts; None calibrates it.
        window: tokens a segment attends to; None is the program's own.
        blocks: fetched in a layer.
        each: questions of a kind and world.
    """

    seconds: float = 128.0
    rate: float = 10.0
    height: int = 240
    width: int = 320
    codec: str = "libx264"
    fps: float = 0.5
    keep: float = 0.2
    threshold: float | None = None
    window: int | None = None
    dtype: str = "float32"
    init_prompt: str = INIT_PROMPT
    guidance_prompt: str = GUIDANCE_PROMPT
    blocks: int = 64
    each: int = 3


def answered(folder: Path, worlds: Iterable[World], trial: Trial) -> list[tuple[Question, str]]:
    """Questions about worlds with the program's answers.

    Args:
        folder: of the model.
    """
    model = load_model(find_checkpoint(str(folder)), choose_placement("cpu", trial.dtype))
    found = []
    with tempfile.TemporaryDirectory() as work:
        for world in worlds:
            scenes, _ = seen(world, round(trial.seconds * trial.fps), trial.fps)
            store = _ingest(folder, world, scenes[-1].end, trial, Path(work))
            rng = np.random.default_rng(world.seed)
            questions = ask(scenes, rng, world.split, trial.each)
            found += list(zip(questions, _answers(model, store, questions, trial), strict=True))
    return found


def _ingest(folder: Path, world: World, end: float, trial: Trial, work: Path) -> Path:
    """A world as a video, ingested by the command into a store of its own."""
    video = write_video(
        world,
        work / f"{world.seed}.mp4",
        end,
        fps=trial.rate,
        height=trial.height,
        width=trial.width,
        codec=trial.codec,
    )
    store = work / f"store-{world.seed}"
    command = [sys.executable, "-m", "streamkv_cli", "ingest", str(video), "--quiet"]
    command += ["--store", str(store), "--model", str(folder), "--dtype", trial.dtype]
    command += ["--fps", str(trial.fps), "--keep", str(trial.keep)]
    command += ["--init-prompt", trial.init_prompt, "--guidance-prompt", trial.guidance_prompt]
    for name in ("threshold", "window"):
        if (value := getattr(trial, name)) is not None:
            command += [f"--{name}", str(value)]
    subprocess.run(command, check=True)
    return store


def _answers(model: VideoLLM, path: Path, questions: Sequence[Question], trial: Trial) -> list[str]:
    method = preset("default", keep=trial.keep, blocks=trial.blocks)
    with Store.open(path) as store:
        records = [record for record, _ in store.videos()]
        return [
            answer_question(
                store,
                records,
                model,
                method,
                question.text,
                init_prompt=trial.init_prompt,
                sampling=Sampling(max_new_tokens=12),
            ).text
            for question in questions
        ]


def main() -> None:
    """Print the accuracy by kind."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--wrong", action="store_true", help="show wrong answers")
    for field in fields(Trial):
        kind = float if field.name == "threshold" else int if field.name == "window" else None
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=kind or type(field.default), default=field.default)
    given = vars(parser.parse_args())
    trial = Trial(**{field.name: given[field.name] for field in fields(Trial)})
    worlds = (World(given["seed"] + number, "test") for number in range(given["worlds"]))
    right: dict[str, list[bool]] = defaultdict(list)
    for question, text in answered(given["folder"], worlds, trial):
        right[question.kind].append(text == question.answer)
        if given["wrong"] and text != question.answer:
            print(f"{question.kind}: {question.text} {question.answer!r}, said {text!r}")
    print(table({kind: (sum(right[kind]), len(right[kind])) for kind in KINDS if right[kind]}))


if __name__ == "__main__":
    main()
