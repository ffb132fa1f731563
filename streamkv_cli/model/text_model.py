"""The stock text model, run with contexts of our own.

Built on the extension points transformers documents: a registered attention function, a cache, and
forward hooks. Families differ in none of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from streamkv_cli.model.context import KV
from streamkv_cli.model.context_cache import OneForwardCache, Placed
from streamkv_cli.model.device import Placement
from streamkv_cli.model.layout import Layout
from streamkv_cli.model.taps import Taps


@dataclass(frozen=True)
class Shape:
    """Numbers that all of a model's blocks share: L layers, h heads, g KV heads, d head size."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int


class TextModel:
    """The text side of a Video-LLM.

    Args:
        model: the stock transformers model, in eval mode on its device.
        placement: where and in which type it runs.
    """

    layout_type: type[Layout] = Layout
    """How the family numbers the tokens of blocks."""

    def __init__(self, model: Any, placement: Placement) -> None:
        self.model = model
        self.placement = placement
        self.shape = self._shape()
        self._taps = Taps(self._projections())
        self._kept_angles: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def axes(self) -> int:
        """Axes of the RoPE: 1, or time, height and width."""
        return self.layout_type.axes

    @property
    def longest_context(self) -> int:
        """Positions the language model was made for."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    def rotate(self, keys: Tensor, positions: Tensor) -> Tensor:
        """RoPE as the text model applies it, to keys [1, g, n, d] at positions [axes, n]."""
        cos, sin = self._angles(keys, positions)
        half = keys.shape[-1] // 2
        # As `keys * cos + rotate_half(keys) * sin`, to the bit, without four copies of the keys.
        turned = keys * cos
        turned[..., :half] -= keys[..., half:] * sin[..., :half]
        turned[..., half:] += keys[..., :half] * sin[..., half:]
        return turned

    def _angles(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [1, 1, n, d]; most layers ask for those of the layer before."""
        kept = self._kept_angles
        if (
            kept is None
            or (kept[1].device, kept[1].dtype) != (like.device, like.dtype)
            or not torch.equal(kept[0], positions)
        ):
            # Layers may lie on several GPUs.
            ids = self._position_ids(positions).to(like.device)
            cos, sin = self._language_model().rotary_emb(like, ids)
            cos, sin = (part.unsqueeze(1).to(like.device) for part in (cos, sin))
            self._kept_angles = kept = (positions, cos, sin)
        return kept[1], kept[2]

    def _shape(self) -> Shape:
        """Read the shape off the model's configuration."""
        text = self.model.config.get_text_config()
        return Shape(
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=getattr(text, "head_dim", None)
            or text.hidden_size // text.num_attention_heads,
        )

    def _projections(self) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
        """Modules whose outputs are pre-RoPE queries and keys, layer by layer.

        Where a family normalises them, that is after its norms: RoPE is applied to those.
        """
        found = []
        for layer in self._language_model().layers:
            attention = layer.self_attn
            normed = hasattr(attention, "k_norm")
            names = ("q_norm", "k_norm") if normed else ("q_proj", "k_proj")
            found.append((getattr(attention, names[0]), getattr(attention, names[1])))
        return found

    def _language_model(self) -> Any:
        """The text model without its head."""
        return self.model.model.language_model

    def _run(
        self,
        embeds: Tensor,
        provide: Callable[[int], Placed],
        positions: Tensor,
        *,
        captured: list[KV] | None = None,
        keep: int | None = None,
        **extra: Any,
    ) -> Tensor:
        """One forward through the text model; `captured` gets pre-RoPE keys and values a layer."""

        new_keys = partial(self._taps.keys, self.shape.head_dim)
        layers = self.shape.layers
        output = self._language_model()(
            inputs_embeds=embeds,
            position_ids=self._position_ids(positions),
            past_key_values=OneForwardCache(provide, self.rotate, layers, new_keys, captured, keep),
            use_cache=True,
            **extra,
        )
        return output.last_hidden_state

    def _nothing(self, _: int) -> Placed:
        shape = (1, self.shape.kv_heads, 0, self.shape.head_dim)
        empty = torch.empty(shape, dtype=self.placement.dtype, device=self.placement.device)
        return empty, empty, torch.empty((self.axes, 0), dtype=torch.long)

    def _words(self, start: int, count: int) -> Tensor:
        """[axes, n] positions of words from `start` on."""
        return torch.arange(start, start + count).expand(self.axes, -1)

    def _position_ids(self, positions: Tensor) -> Tensor:
        """Positions [axes, n] as transformers wants them: [1, n], or [3, 1, n] for M-RoPE."""
        positions = positions.to(self.placement.device)
        return positions if len(positions) == 1 else positions.unsqueeze(1)

    def _ids(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(ids)], dtype=torch.long, device=self.placement.device)

    def _embed(self, ids: Sequence[int]) -> Tensor:
        embeds: Tensor = self.model.get_input_embeddings()(self._ids(ids))
        return embeds
