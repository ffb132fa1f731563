"""The stock model doing the least that has to be done: forwards, and nothing else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from streamkv_cli.model.attention import register
from streamkv_cli.model.video_llm import VideoLLM


class Bare:
    """Forwards of the stock classes with their own attention (SDPA) and their own cache.

    Args:
        model: loaded by the program; its attention is put back after each forward.
    """

    def __init__(self, model: VideoLLM) -> None:
        self._ours = model
        self._text = model.model.model.language_model
        self._config = model.model.config.get_text_config()
        weight = model.model.get_input_embeddings().weight
        self._width, self._like = weight.shape[1], weight

    @torch.inference_mode()
    def text(self, new: int, held: int) -> float:
        """Seconds of one forward over `new` tokens after a cache of `held`."""
        embeds = torch.randn((1, new, self._width), device=self._like.device) * 0.02
        return self._timed(embeds.to(self._like.dtype), self._cache(held), held)

    @torch.inference_mode()
    def vision(self, pixels: Tensor) -> float:
        """Seconds of the vision tower and projector over a batch that is ready."""
        begun = now(self._ours)
        self._ours.features(pixels)
        return now(self._ours) - begun

    @torch.inference_mode()
    def prefill(self, embeds: Tensor) -> float:
        """Seconds to the first token after all of these embeddings [1, S, D]."""
        return self._timed(embeds, DynamicCache(config=self._config), 0, first_token=True)

    def _timed(
        self, embeds: Tensor, cache: DynamicCache, held: int, first_token: bool = False
    ) -> float:
        positions = torch.arange(held, held + embeds.shape[1], device=embeds.device)
        axes = self._ours.axes
        ids = positions.expand(1, -1) if axes == 1 else positions.expand(axes, 1, -1)
        with self._stock():
            begun = now(self._ours)
            output = self._text(
                inputs_embeds=embeds, position_ids=ids, past_key_values=cache, use_cache=True
            )
            if first_token:
                head = self._ours.model.get_output_embeddings()
                int(head(output.last_hidden_state[:, -1]).argmax())
            return now(self._ours) - begun

    def _cache(self, held: int) -> DynamicCache:
        cache, shape = DynamicCache(config=self._config), self._ours.shape
        size = (1, shape.kv_heads, held, shape.head_dim)
        for layer in range(shape.layers if held else 0):
            kv = torch.randn(size, device=self._like.device).to(self._like.dtype)
            cache.update(kv, kv, layer)
        return cache

    @contextmanager
    def _stock(self) -> Iterator[None]:
        """Transformers' own attention while it lasts."""
        model: Any = self._ours.model
        model.set_attn_implementation({"text_config": "sdpa"})
        try:
            yield
        finally:
            model.set_attn_implementation({"text_config": register()})


def now(model: VideoLLM) -> float:
    """The clock, once the device has done what it was given."""
    if model.placement.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
