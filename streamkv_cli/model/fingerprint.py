"""Which weights are these? A fingerprint that any retrained tensor changes, in well under a second.

Hashing 15 GB takes many seconds; reading nothing but names would not notice other weights under
the same name. So a checkpoint of up to 1 GiB is read whole, and of a larger one every tensor gives
its name, type, shape and pieces from fixed places of its bytes. What that cannot see: in a
checkpoint of more than 1 GiB, a change that lies wholly between the pieces of a tensor of more than
32 KiB, such as a single element. Training, merging, quantizing change all of a tensor.

Paths, times and how tensors are spread over files play no part: it is the same on every machine.
"""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from streamkv_cli.errors import DiskError, ModelError

VERSION = 2
_LARGEST_HEADER = 100 << 20
_CHUNK = 8 << 20


@dataclass(frozen=True)
class _Rule:
    """What is read: all of a checkpoint up to `whole` bytes; of a larger one, tensors of up to
    pieces x piece bytes whole, and of larger ones `pieces` pieces from first byte to last."""

    whole: int
    piece: int
    pieces: int


# By version. An old one stays for as long as memories made with it are asked.
_RULES = {1: _Rule(0, 1024, 8), 2: _Rule(1 << 30, 4096, 8)}


def weights_fingerprint(files: list[Path], version: int = VERSION) -> str:
    """xxh3-128 of all tensors' names, types, shapes and bytes read, as 32 hex digits.

    Args:
        files: the checkpoint's safetensors files.
        version: of the rule; all but the first begin their fingerprints with it and a colon.

    Raises:
        ModelError: a file is not a whole safetensors file.
    """
    rule = _RULES[version]
    headers = {path: _header(path) for path in files}
    total = sum(last - first for found in headers.values() for _, _, first, last in found)
    digests = sorted(
        pair
        for path, found in headers.items()
        for pair in _tensor_digests(path, found, rule, total <= rule.whole)
    )
    digest = xxhash.xxh3_128()
    for name, part in digests:
        digest.update(name.encode())
        digest.update(part)
    return digest.hexdigest() if version == 1 else f"{version}:{digest.hexdigest()}"


def version_of(fingerprint: str) -> int:
    """The rule a fingerprint was made with; the newest where this program does not know it."""
    head, colon, _ = fingerprint.partition(":")
    if not colon:
        return 1
    return int(head) if head.isdigit() and int(head) in _RULES else VERSION


_Tensor = tuple[str, str, int, int]
"""Name, type and shape, first byte, end."""


def _header(path: Path) -> list[_Tensor]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return _tensors(path, file, size)
    except OSError as error:
        raise DiskError(f"{path} cannot be read: {error.strerror}") from None


def _tensors(path: Path, file: BinaryIO, size: int) -> list[_Tensor]:
    header, start = _read_header(path, file.read(8), file.fileno(), size)
    found = []
    try:
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            first, last = (start + int(offset) for offset in entry["data_offsets"])
            if not start <= first <= last:
                raise ValueError
            if last > size:
                raise ModelError(
                    f"{path} is cut short: {name} should end at byte {last} of {size}",
                    "the download is incomplete; fetch the model again",
                )
            found.append((name, f"{entry['dtype']}{entry['shape']}", first, last))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _damaged_header(path) from None
    return found


def _tensor_digests(
    path: Path, tensors: list[_Tensor], rule: _Rule, whole: bool
) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb", buffering=0) as file:
            if not whole:
                _announce(file.fileno(), tensors, rule)
            for name, kind, first, last in tensors:
                digest = xxhash.xxh3_128(kind.encode())
                for offset, length in _pieces(last - first, rule, whole):
                    digest.update(os.pread(file.fileno(), length, first + offset))
                yield name, digest.digest()
    except OSError as error:
        raise DiskError(f"{path} cannot be read: {error.strerror}") from None


def _announce(descriptor: int, tensors: list[_Tensor], rule: _Rule) -> None:
    """Let the system fetch all pieces at once: a disk answers thousands of reads in parallel."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead of a piece
    for _, _, first, last in tensors:
        for offset, length in _pieces(last - first, rule, whole=False):
            os.posix_fadvise(descriptor, first + offset, length, os.POSIX_FADV_WILLNEED)


def _read_header(
    path: Path, prefix: bytes, descriptor: int, size: int
) -> tuple[dict[str, Any], int]:
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 0 < length <= min(size - 8, _LARGEST_HEADER):
        raise ModelError(
            f"{path} is not a safetensors file", "the download is incomplete; fetch the model again"
        )
    try:
        return json.loads(os.pread(descriptor, length, 8)), 8 + length
    except (ValueError, RecursionError):
        raise _damaged_header(path) from None


def _damaged_header(path: Path) -> ModelError:
    return ModelError(
        f"{path} has a damaged header", "the download is incomplete; fetch the model again"
    )


def _pieces(size: int, rule: _Rule, whole: bool) -> Iterator[tuple[int, int]]:
    """(offset, length) of what is read of a tensor of `size` bytes."""
    if whole:
        for offset in range(0, size, _CHUNK):
            yield offset, min(_CHUNK, size - offset)
    elif size <= rule.piece * rule.pieces:
        yield 0, size
    else:
        for i in range(rule.pieces):
            yield (size - rule.piece) * i // (rule.pieces - 1), rule.piece
