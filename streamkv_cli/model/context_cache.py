"""A transformers cache that puts a context of its own length before each layer's new tokens."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from streamkv_cli.model.context import KV

Placed = tuple[Tensor, Tensor, Tensor]
"""One layer's context: keys before RoPE and values [1, g, n, d], and their positions [axes, n]."""


class ContextCache(Cache):
    """Serves each layer its context first, rotated to where it shall stand.

    RoPE is relative: the new tokens stand at one place for all layers, and a layer's context is
    moved as a whole to end right before them, whatever the other layers hold.

    Args:
        provide: called once a layer, when its first new tokens arrive; returns its context. The
            layer's queries are already computed then, so the context may depend on them.
        rotate: applies RoPE: (keys [1, g, n, d], positions [axes, n]) -> rotated keys.
        layers: number of layers of the language model.
        room: tokens to leave space for after the first ones (those to be generated).
    """

    def __init__(
        self,
        provide: Callable[[int], Placed],
        rotate: Callable[[Tensor, Tensor], Tensor],
        layers: int,
        room: int = 0,
    ) -> None:
        # DynamicLayer objects answer transformers' questions about kinds of layers; the tensors
        # live here, because a layer object may not know a context of its own.
        super().__init__(layers=[DynamicLayer() for _ in range(layers)])
        self._provide = provide
        self._rotate = rotate
        self._room = room
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers
        self._context = [0] * layers
        self._own = [0] * layers

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append a layer's new tokens; returns its context and all its tokens so far.

        Args:
            key_states, value_states: [1, g, S, d], keys rotated.
        """
        if self._keys[layer_idx] is None:
            self._begin(key_states, layer_idx)
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        assert keys is not None
        assert values is not None
        start = self._context[layer_idx] + self._own[layer_idx]
        stop = start + key_states.shape[2]
        if stop > keys.shape[2]:
            keys = self._keys[layer_idx] = _with_room(keys, stop - start)
            values = self._values[layer_idx] = _with_room(values, stop - start)
        keys[:, :, start:stop] = key_states
        values[:, :, start:stop] = value_states
        self._own[layer_idx] += key_states.shape[2]
        return keys[:, :, :stop], values[:, :, :stop]

    def _begin(self, new: Tensor, layer: int) -> None:
        context_keys, context_values, positions = self._provide(layer)
        length = context_keys.shape[2]
        size = length + new.shape[2] + self._room
        keys = new.new_empty((1, new.shape[1], size, new.shape[3]))
        values = torch.empty_like(keys)
        if length:
            keys[:, :, :length] = self._rotate(context_keys, positions)
            values[:, :, :length] = context_values
        self._keys[layer], self._values[layer] = keys, values
        self._context[layer] = length

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens the model itself has put in; the context is none of its business."""
        return self._own[layer_idx]

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Length and offset of a mask, had one been wanted."""
        return self._own[layer_idx] + query_length, 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Offset of the next token among those the model has put in."""
        return self._own[layer_idx]


class OneForwardCache(ContextCache):
    """For a forward that no other follows: a layer's tokens are let go when the layer has run.

    Else the contexts of all layers would lie side by side until the last layer has run. It is a
    class of the module since a class made for each forward refers to itself, and would keep a
    whole segment's KV until Python's next full collection.

    Args:
        new_keys: gives the pre-RoPE keys [g, S, d] of the layer that is running.
        captured: gets the new tokens' pre-RoPE keys and values [1, g, n, d], layer after layer.
        keep: new tokens that are captured, the first ones; None for all.
    """

    def __init__(
        self,
        provide: Callable[[int], Placed],
        rotate: Callable[[Tensor, Tensor], Tensor],
        layers: int,
        new_keys: Callable[[], Tensor],
        captured: list[KV] | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__(provide, rotate, layers)
        self._new_keys = new_keys
        self._captured = captured
        self._keep = keep

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """As any context's cache does; see there."""
        if self._captured is not None:
            keys = self._new_keys()[:, : self._keep].unsqueeze(0)
            self._captured.append((keys, value_states[:, :, : self._keep]))
        found = super().update(key_states, value_states, layer_idx)
        self._keys[layer_idx] = self._values[layer_idx] = None
        return found


def _with_room(tensor: Tensor, more: int) -> Tensor:
    """A copy with space for `more` tokens and half as many again as it had."""
    shape = list(tensor.shape)
    shape[2] += max(more, shape[2] // 2)
    grown = tensor.new_empty(shape)
    grown[:, :, : tensor.shape[2]] = tensor
    return grown
