"""How many elements share a zero and a step: arithmetic, without torch."""

from __future__ import annotations


def group_size(length: int, most: int) -> int:
    """Elements a group, at most `most` and as even as can be: 196 by at most 64 is 4 x 49."""
    groups = -(-length // most)
    return -(-length // groups)


def groups_of(length: int, most: int) -> int:
    """How many groups `length` elements make; the last one may be shorter."""
    return -(-length // group_size(length, most))
