"""What a block of KV looks like: the numbers all sizes on disk follow from."""

from __future__ import annotations

from dataclasses import dataclass

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_MOST_LAYERS = 0xFFFF
_MOST_HEADS = 0xFFFF
_MOST = 0xFFFFFFFF


@dataclass(frozen=True)
class Geometry:
    """What one block of KV looks like: [2, kv_heads, tokens, head_dim] of `dtype` in each layer.

    Raises:
        ValueError: a size that is not a positive whole number, or an unknown dtype.
    """

    layers: int
    kv_heads: int
    tokens: int
    head_dim: int
    dtype: str

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        bounds = (
            (self.layers, _MOST_LAYERS),
            (self.kv_heads, _MOST_HEADS),
            (self.tokens, _MOST),
            (self.head_dim, _MOST),
        )
        for size, most in bounds:
            if not whole(size) or not 1 <= size <= most:
                raise ValueError(f"a geometry of impossible sizes: {self}")
        if self.dtype not in DTYPE_BYTES:
            raise ValueError(f"unknown dtype {self.dtype!r}: use one of {sorted(DTYPE_BYTES)}")

    def decoded_bytes(self) -> int:
        """Bytes of one block in one layer, keys and values together, as the model uses it."""
        return 2 * self.kv_heads * self.tokens * self.head_dim * DTYPE_BYTES[self.dtype]

    def key_dtype(self) -> str:
        """The dtype of block keys: half precision suffices where the KV itself has no more."""
        return "float32" if self.dtype == "float32" else "float16"


def whole(value: object) -> bool:
    """Whether `value` is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
