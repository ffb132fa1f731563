"""What each at-rest codec costs: bytes an hour, error of the KV, and answers against raw.

    python -m examples.codec_benchmark [--worlds 9] [--keep 1 0.2 0.1] [--codecs raw int4]

Held-out worlds of the demo model are rendered as H.264 and ingested by the program for each codec
and kept fraction, since the encoding window holds what the codec left of the KV; then the same
questions are asked of each memory by the function behind `streamkv ask`. Raw is the peer: "kept"
counts the answers that are letter by letter those of the raw memory of the same run.

`--published` needs no model: it prints what the published models take on disk.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from store import CODECS, Geometry, Store
from streamkv_cli.method.presets import Method, preset
from streamkv_cli.model.checkpoint import Checkpoint, find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model
from streamkv_cli.model.prompts import GUIDANCE_PROMPT, INIT_PROMPT
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.answer import Sampling, answer_question
from streamkv_cli.pipeline.session import IngestSession, Settings

PUBLISHED = {
    "0.5B": Geometry(layers=24, kv_heads=2, tokens=196, head_dim=64, dtype="bfloat16"),
    "7B": Geometry(layers=28, kv_heads=4, tokens=196, head_dim=128, dtype="bfloat16"),
}
"""LLaVA-OneVision's language models and tokens a frame."""


@dataclass
class Tally:
    """What was measured of one codec at one kept fraction."""

    bytes: int = 0
    seconds: float = 0.0
    right: int = 0
    kept: int = 0
    asked: int = 0
    errors: dict[str, list[float]] = field(default_factory=lambda: {"keys": [], "values": []})


def ingest(
    checkpoint: Checkpoint, model: VideoLLM, video: Path, store: Path, method: Method, codec: str
) -> None:
    """Through the program's own session, with a model that is loaded already."""
    settings = Settings(method, 0.5, INIT_PROMPT, GUIDANCE_PROMPT, codec=codec, thumbnails=False)
    session = IngestSession(checkpoint, model.placement, settings)
    session._model = model  # not to load it again for each of some dozens of memories
    with Store.open(store, create=True) as opened:
        session.ingest(opened, str(video), lambda *_: None, lambda *_: None)


def answers(model: VideoLLM, store: Path, method: Method, questions: Sequence[str]) -> list[str]:
    """What the program answers from this memory."""
    found = []
    with Store.open(store) as opened:
        records = [record for record, _ in opened.videos()]
        for question in questions:
            answer = answer_question(
                opened,
                records,
                model,
                method,
                question,
                init_prompt=INIT_PROMPT,
                sampling=Sampling(max_new_tokens=12),
            )
            found.append(answer.text)
    return found


def size_and_errors(
    store: Path, codecs: Iterable[str]
) -> tuple[int, float, dict[str, list[float]]]:
    """Bytes and seconds of a memory; of a raw one the relative RMS errors of other codecs.

    Returns:
        bytes, seconds of video, and by codec [error of the keys, error of the values].
    """
    squares = {codec: np.zeros(2) for codec in codecs}
    whole = np.zeros(2)
    with Store.open(store) as opened:
        [(record, state)] = opened.videos()
        for layer in range(record.geometry.layers if squares else 0):
            rows = opened.summaries(layer, [record.video_id])
            kv = opened.read_blocks(layer, rows.refs(range(len(rows))))
            whole += kv.double().pow(2).sum(dim=(0, 2, 3, 4)).numpy()
            for codec in squares:
                back = CODECS[codec].decode(CODECS[codec].encode(kv), record.geometry)
                squares[codec] += (kv.double() - back.double()).pow(2).sum((0, 2, 3, 4)).numpy()
    errors = {codec: list(np.sqrt(total / whole)) for codec, total in squares.items()}
    return state.bytes, state.end - state.start, errors


def measure(given: argparse.Namespace) -> dict[tuple[float, str], Tally]:
    """Every codec at every kept fraction on every world."""
    from examples.demo_model.evaluate import ask, seen
    from examples.demo_model.render import write_video
    from examples.demo_model.world import World

    checkpoint = find_checkpoint(given.model)
    model = load_model(checkpoint, choose_placement("cpu"))
    tallies = {(keep, codec): Tally() for keep in given.keep for codec in given.codecs}
    begun = time.monotonic()
    for number in range(given.worlds):
        world = World(given.seed + number, "test")
        scenes, _ = seen(world, round(given.seconds * 0.5), 0.5)
        questions = ask(scenes, np.random.default_rng(given.seed + number), "test", given.each)
        texts = [question.text for question in questions]
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            video = write_video(world, work / f"{number}.mp4", scenes[-1].end, fps=10)
            for keep in given.keep:
                method = preset("default", keep=keep)
                raw: list[str] = []
                for codec in given.codecs:
                    tally = tallies[keep, codec]
                    store = work / f"{keep}-{codec}"
                    ingest(checkpoint, model, video, store, method, codec)
                    others = given.codecs if codec == "raw" else ()
                    size, seconds, errors = size_and_errors(store, others)
                    for other, (keys, values) in errors.items():
                        tallies[keep, other].errors["keys"].append(keys)
                        tallies[keep, other].errors["values"].append(values)
                    said = answers(model, store, method, texts)
                    raw = raw or said
                    tally.bytes += size
                    tally.seconds += seconds
                    tally.asked += len(said)
                    tally.kept += sum(a == b for a, b in zip(said, raw, strict=True))
                    tally.right += sum(a == q.answer for a, q in zip(said, questions, strict=True))
        spent = time.monotonic() - begun
        print(f"world {number + 1} of {given.worlds}, {spent:.0f} s", file=sys.stderr, flush=True)
    return tallies


def show(tallies: dict[tuple[float, str], Tally]) -> None:
    """A Markdown table of what was measured."""
    print("| keep | codec | MB an hour | error of keys | of values | answers kept | right |")
    print("|---|---|---|---|---|---|---|")
    for (keep, codec), tally in tallies.items():
        keys, values = (f"{np.mean(tally.errors[part]):.2%}" for part in ("keys", "values"))
        hourly = tally.bytes / tally.seconds * 3600 / 1e6
        print(
            f"| {keep:g} | {codec} | {hourly:.2f} | {keys} | {values} "
            f"| {tally.kept} of {tally.asked} ({tally.kept / tally.asked:.1%}) "
            f"| {tally.right / tally.asked:.1%} |"
        )


def published(frames: int) -> None:
    """GB an hour of the published models at 0.5 fps, segments of `frames` frames."""
    print(f"| model | keep | {' | '.join(CODECS)} |")
    print("|---|---|" + "---|" * len(CODECS))
    hour = 1800  # frames
    for name, geometry in PUBLISHED.items():
        for keep in (1.0, 0.2, 0.1):
            blocks = hour if keep == 1 else hour / frames * (max(1, round(keep * frames)) + 1)
            sizes = [
                blocks * geometry.layers * codec.block_bytes(geometry) / 1e9
                for codec in CODECS.values()
            ]
            print(f"| {name} | {keep:g} | " + " | ".join(f"{size:.2f}" for size in sizes) + " |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--worlds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--seconds", type=float, default=128.0, help="of video a world, at most")
    parser.add_argument("--each", type=int, default=3, help="questions of a kind and world")
    parser.add_argument("--keep", type=float, nargs="+", default=[1.0, 0.2, 0.1])
    parser.add_argument("--codecs", nargs="+", default=list(CODECS))
    parser.add_argument("--published", action="store_true", help="sizes of published models only")
    parser.add_argument("--frames", type=int, default=32, help="with --published: of a segment")
    given = parser.parse_args()
    if given.published:
        return published(given.frames)
    given.codecs = ["raw", *(codec for codec in given.codecs if codec != "raw")]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    return show(measure(given))


if __name__ == "__main__":
    main()
