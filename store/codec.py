"""How a block is written: one codec a video, each block of each layer by itself.

A codec turns [n, 2, g, P, d] into n rows of equally many bytes and back, on whatever device the
tensor is, all blocks at once. What a decoded block looks like depends on its own bytes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from store.errors import StoreRefused
from store.geometry import DTYPE_BYTES, Geometry

if TYPE_CHECKING:
    from torch import Tensor

    from store.records import VideoRecord

_ST_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_AT_ONCE = 1 << 22
"""Elements that a CPU decodes at once: 16 MiB bound what the codec holds beside them. In pieces of
2 MiB the processor's threads are woken too often, and decoding takes twice as long."""


class Codec(Protocol):
    """What every codec does."""

    def block_bytes(self, geometry: Geometry) -> int:
        """Bytes of one block in one layer."""
        ...

    def tensor(self, geometry: Geometry, rows: int) -> tuple[str, int, tuple[int, ...]]:
        """The safetensors dtype of `rows` blocks, bytes an item, and shape."""
        ...

    def encode(self, kv: Tensor) -> Tensor:
        """Blocks [n, 2, g, P, d] as bytes [n, block_bytes], uint8, on the same device.

        Raises:
            ValueError: an element is not a number, infinite, or out of the codec's range.
        """
        ...

    def decode(self, packed: Tensor, geometry: Geometry) -> Tensor:
        """Bytes [n, block_bytes] as blocks [n, 2, g, P, d] of the geometry's dtype."""
        ...


@dataclass(frozen=True)
class Cast:
    """Elements as they are, in one floating type.

    Args:
        dtype: of what is written; "" for the type the model computed in.
    """

    dtype: str = ""

    def block_bytes(self, geometry: Geometry) -> int:
        """As in Codec."""
        return 2 * geometry.kv_heads * geometry.tokens * geometry.head_dim * self._item(geometry)

    def tensor(self, geometry: Geometry, rows: int) -> tuple[str, int, tuple[int, ...]]:
        """As in Codec."""
        shape = (rows, 2, geometry.kv_heads, geometry.tokens, geometry.head_dim)
        return _ST_NAMES[self.dtype or geometry.dtype], self._item(geometry), shape

    def encode(self, kv: Tensor) -> Tensor:
        """As in Codec; as they are, infinities and all, where the type does not change."""
        import torch

        dtype = getattr(torch, self.dtype) if self.dtype else kv.dtype
        if dtype != kv.dtype:
            _refuse_beyond(kv, torch.finfo(dtype).max)
        return kv.detach().to(dtype).contiguous().flatten(1).view(torch.uint8)

    def decode(self, packed: Tensor, geometry: Geometry) -> Tensor:
        """As in Codec."""
        import torch

        stored = packed.view(getattr(torch, self.dtype or geometry.dtype))
        decoded = stored.view(_shape(len(packed), geometry)).to(getattr(torch, geometry.dtype))
        if self.dtype != "bfloat16" or geometry.dtype != "float16":
            return decoded
        # bfloat16 rounds float16's largest number up to one that float16 does not have.
        most = torch.finfo(decoded.dtype).max
        return decoded.nan_to_num_(posinf=most, neginf=-most)

    def _item(self, geometry: Geometry) -> int:
        return DTYPE_BYTES[self.dtype or geometry.dtype]


@dataclass(frozen=True)
class Quantized:
    """Whole numbers of few bits with a zero and a step for each small group (`store.quantize`).

    A row is: zeros and steps of the keys, F16 [g, key groups, d] each; zeros and steps of the
    values, F16 [g, P, value groups] each; then the codes of keys and values, [2, g, P, d].

    Args:
        bits: 8 or 4.
        key_tokens: most tokens in a group of keys, which is one channel.
        value_channels: most channels in a group of values, which is one token.
    """

    bits: int
    key_tokens: int
    value_channels: int

    def block_bytes(self, geometry: Geometry) -> int:
        """As in Codec."""
        codes = 2 * geometry.kv_heads * geometry.tokens * geometry.head_dim * self.bits // 8
        return codes + 2 * sum(_product(shape) for shape in self._tables(geometry))

    def tensor(self, geometry: Geometry, rows: int) -> tuple[str, int, tuple[int, ...]]:
        """As in Codec."""
        return "U8", 1, (rows, self.block_bytes(geometry))

    def encode(self, kv: Tensor) -> Tensor:
        """As in Codec."""
        import torch

        from store.quantize import LARGEST, pack, quantize

        _refuse_beyond(kv, LARGEST)
        exact = kv.detach().float()
        keys = quantize(exact[:, 0], -2, self.key_tokens, self.bits)
        values = quantize(exact[:, 1], -1, self.value_channels, self.bits)
        tables = torch.cat([t.flatten(1) for t in (*keys[1:], *values[1:])], dim=1)
        codes = torch.cat([keys[0].flatten(1), values[0].flatten(1)], dim=1)
        return torch.cat([tables.view(torch.uint8), pack(codes, self.bits)], dim=1)

    def decode(self, packed: Tensor, geometry: Geometry) -> Tensor:
        """As in Codec."""
        import torch

        decoded = torch.empty(
            _shape(len(packed), geometry),
            dtype=getattr(torch, geometry.dtype),
            device=packed.device,
        )
        rows = len(packed)
        if packed.device.type == "cpu":
            rows = max(1, _AT_ONCE // (decoded[:1].numel() or 1))
        for at in range(0, len(packed), max(1, rows)):
            self._decode(packed[at : at + rows], geometry, decoded[at : at + rows])
        return decoded

    def _decode(self, packed: Tensor, geometry: Geometry, into: Tensor) -> None:
        import torch

        from store.quantize import LARGEST, dequantize, unpack

        n, tables, at = len(packed), [], 0
        for shape in self._tables(geometry):
            end = at + 2 * _product(shape)
            # A copy: a row may begin at an odd byte, where no half precision number can be read.
            table = packed[:, at:end].clone(memory_format=torch.contiguous_format)
            tables.append(table.view(torch.float16).view(n, *shape))
            at = end
        key_zero, key_step, value_zero, value_step = tables
        codes = unpack(packed[:, at:], self.bits).reshape(_shape(n, geometry))
        there = into.unbind(1) if into.dtype == torch.float32 else (None, None)
        keys = dequantize(codes[:, 0], key_zero, key_step, -2, self.key_tokens, there[0])
        values = dequantize(codes[:, 1], value_zero, value_step, -1, self.value_channels, there[1])
        if into.dtype == torch.float32:
            return
        if into.dtype == torch.float16:  # the step above the largest element may lie beyond it
            keys, values = (x.clamp_(-LARGEST, LARGEST) for x in (keys, values))
        into[:, 0], into[:, 1] = keys, values

    def _tables(self, geometry: Geometry) -> list[tuple[int, int, int]]:
        from store.groups import groups_of

        g, p, d = geometry.kv_heads, geometry.tokens, geometry.head_dim
        keys, values = groups_of(p, self.key_tokens), groups_of(d, self.value_channels)
        return [(g, keys, d), (g, keys, d), (g, p, values), (g, p, values)]


CODECS: dict[str, Codec] = {
    "raw": Cast(),
    "bf16": Cast("bfloat16"),
    "int8": Quantized(bits=8, key_tokens=256, value_channels=64),
    "int4": Quantized(bits=4, key_tokens=64, value_channels=32),
}
"""By the name that a video keeps. A name's meaning never changes: a better one is a new name."""


def codec_of(video: VideoRecord) -> Codec:
    """The codec of a video; StoreRefused for one that this program does not know."""
    found = CODECS.get(video.codec)
    if found is None:
        raise StoreRefused(
            f"the blocks of video {video.name} are written as {video.codec}, which this program "
            f"does not know (it knows {', '.join(CODECS)})",
            "use the version of the program that wrote it",
        )
    return found


def _refuse_beyond(kv: Tensor, most: float) -> None:
    """ValueError unless all elements are finite and within -most and most."""
    if kv.numel() and not bool((kv.detach().abs() <= most).all()):
        import torch

        what = "beyond what this codec can write" if torch.isfinite(kv).all() else "not finite"
        raise ValueError(f"a block holds a number that is {what}")


def _shape(rows: int, geometry: Geometry) -> tuple[int, ...]:
    return rows, 2, geometry.kv_heads, geometry.tokens, geometry.head_dim


def _product(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
