"""Ask: the store's answer, the same answer by encoding the video again, and the least of both."""

import os
from pathlib import Path

import torch

from store import Store
from streamkv_cli.bench.bare import Bare, now
from streamkv_cli.bench.clip import Clip
from streamkv_cli.bench.fetching import Ranges, RawReads
from streamkv_cli.bench.figure import Figure, turns
from streamkv_cli.bench.ingesting import Ingests
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.answer import Answer, Asker
from streamkv_cli.pipeline.batches import blocks_of_frames, pictures
from streamkv_cli.pipeline.bounds import Bounds
from streamkv_cli.pipeline.catalog import Shelf
from streamkv_cli.pipeline.resume import vision_batch
from streamkv_cli.video import open_video

QUESTION = "What happens first?"


class Asks:
    """One question, asked again and again.

    Args:
        folder: the store that holds the clip.
        asker: of the model that it was ingested with.
    """

    def __init__(self, folder: Path, asker: Asker) -> None:
        self.folder, self.asker = folder, asker
        self.last: Answer | None = None

    def warm(self) -> float:
        """Seconds from opening the store to the first token."""
        model = self.asker.model
        begun = now(model)
        with Store.open(self.folder) as store:
            catalog = Shelf(store).catalog(store.videos(), Bounds())
            opened = now(model) - begun
            self.last = self.asker.answer(catalog, QUESTION)
        return opened + self.last.seconds_to_first_token

    def cold(self) -> float:
        """The same, with nothing of the store in the page cache."""
        forget(self.folder)
        return self.warm()

    def encode_again(self, ingests: Ingests) -> float:
        """Seconds to the first token of stock classes that decode, look and read it all anew."""
        model = self.asker.model
        begun = now(model)
        embeds = _everything(ingests, model)
        return now(model) - begun + Bare(model).prefill(embeds)

    def least(self, ranges: Ranges, raw: RawReads) -> float:
        """Seconds to read what was fetched, and for one forward of the question over it."""
        answer, model = self.last, self.asker.model
        assert answer is not None
        begun = now(model)
        raw.read()
        read = now(model) - begun
        prompt = model.prompt("", QUESTION)
        layers = len(answer.budgets)
        held = len(prompt.before) + sum(answer.budgets) * ranges.tokens // layers
        return read + Bare(model).text(len(prompt.after), held)


def measure_ask(asks: Asks, ingests: Ingests, ranges: Ranges, rounds: int) -> list[Figure]:
    """Time to the first token, warm and cold."""
    raw = RawReads(ranges)
    asks.warm()  # whatever is done but once
    taken = turns(
        rounds,
        warm=asks.warm,
        cold=asks.cold,
        peer=lambda: asks.encode_again(ingests),
        bound=lambda: asks.least(ranges, raw),
    )
    assert asks.last is not None
    notes = {
        "blocks_fetched": asks.last.blocks_fetched,
        "bytes_fetched": asks.last.bytes_fetched,
        "question": QUESTION,
    }
    return [
        Figure(
            f"first token, {name} page cache",
            "s",
            taken[name],
            taken["peer"],
            taken["bound"],
            peer_is="decode, look and prefill again with stock classes",
            bound_is="the fetched bytes by parallel pread, then one forward of the question",
            notes=notes,
        )
        for name in ("warm", "cold")
    ]


@torch.inference_mode()
def _everything(ingests: Ingests, model: VideoLLM) -> torch.Tensor:
    """[1, S, D] embeddings of the prompt with every frame of the clip in it."""
    settings, layout = ingests.settings, ingests.layout
    with open_video(ingests.path, fps=settings.fps, decoder=settings.decoder) as reader:
        frames = list(Clip(reader, ingests.seconds))
    blocks = blocks_of_frames(frames, layout.frames)
    size = max(1, vision_batch(model.placement) // layout.frames)
    looked = [
        model.features(model.preprocess(pictures(blocks[at : at + size], layout.frames))).tokens
        for at in range(0, len(blocks), size)
    ]
    prompt = model.prompt(settings.init_prompt, QUESTION)
    embed = model.model.get_input_embeddings()
    before, after = (
        embed(torch.tensor([list(ids)], device=embed.weight.device))
        for ids in (prompt.before, prompt.after)
    )
    width = embed.weight.shape[1]
    seen = torch.cat(looked)[..., :width].reshape(1, -1, width).to(before.dtype)
    return torch.cat([before, seen, after], dim=1)


def forget(folder: Path) -> None:
    """Drop a store's files from the page cache, as far as the system takes the advice."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
