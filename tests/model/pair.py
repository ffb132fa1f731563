"""The same checkpoint behind our interface and as transformers runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.context import Context
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.layout import Place
from streamkv_cli.model.loading import load_model
from tests.model import stock

Held = list[list[tuple[Tensor, int]]]
"""Per layer: its blocks [2, g, P, d] with the number of unused slots."""


def frames_of(count: int, size: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    """Noise, height x width."""
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


class Pair:
    """One video, read by both.

    Args:
        frames: pictures sampled at `fps`, the first at 0 s.
        question: with the init prompt, what is asked.
    """

    def __init__(
        self,
        folder: Path,
        frames: list[np.ndarray],
        fps: float,
        question: tuple[str, str] = ("Remember all.", "What colour is the second thing?"),
    ) -> None:
        self.ours = load_model(find_checkpoint(str(folder)), choose_placement("cpu", "float32"))
        self.stock = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.fps = fps
        self.frames = frames
        self.pixels = self.ours.preprocess(self.frames)
        self.layout = self.ours.lay_out(frames[0].shape[1], frames[0].shape[0], fps)
        self.features = self.ours.features(self.pixels).tokens
        self.blocks = len(self.features)
        self.prompt = self.ours.prompt(*question)
        self.prefix = self.ours.encode_prefix(self.prompt.before)
        self.layers = self.ours.shape.layers

    def spans(self) -> list[tuple[float, float]]:
        """First and last second of each block's frames."""
        each = self.layout.frames
        times = [index / self.fps for index in range(len(self.frames))]
        return [
            (run[0], run[-1]) for run in (times[i : i + each] for i in range(0, len(times), each))
        ]

    def headings(self) -> list[list[int]]:
        """Words before each block, as our side reads them."""
        return [list(self.ours.heading(*span, i)) for i, span in enumerate(self.spans())]

    def inputs(self) -> dict[str, Any]:
        """What the stock model's forward takes."""
        return stock.inputs(self)

    def encode(self, cuts: list[int], guidance: bool = False, window: int = 10**6) -> Held:
        """Blocks per layer after encoding the video in segments that end at `cuts`."""
        held: Held = [[] for _ in range(self.layers)]
        headings = self.headings()
        for start, stop in zip([0, *cuts], [*cuts, self.blocks], strict=True):
            first = max(0, start - window)
            encoded = self.ours.encode(
                self.features[start:stop],
                self.layout,
                lambda layer, first=first: self.context(layer, held, first),
                self.context(0, held, first).place,
                self.ours.guidance("What matters here?") if guidance else (),
                headings[start:stop],
            )
            for layer, blocks in enumerate(encoded.blocks):
                skips = [self.layout.head - len(words) for words in headings[start:stop]]
                held[layer] += zip(blocks, skips, strict=True)
        return held

    def context(self, layer: int, held: Held, first: int = 0) -> Context:
        """The init prompt, and the blocks held of a layer from `first` on."""
        found = held[layer][first:]
        if not found:
            return self.prefix[layer]
        blocks = torch.stack([block for block, _ in found])
        return self.prefix[layer].extended(self.layout, blocks, [skip for _, skip in found])

    def place(self, held: Held, first: int = 0) -> Place:
        """Where the question stands."""
        return self.context(0, held, first).place

    def logits(self, held: Held, first: int = 0) -> Tensor:
        """Ours, of the tokens behind the video."""
        return self.ours.logits(
            self.prompt,
            lambda layer, _: self.context(layer, held, first),
            self.place(held, first),
        )
