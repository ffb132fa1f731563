"""Which weights are these? A fingerprint that any retrained tensor changes, in well under a second.

Hashing 15 GB takes minutes; reading nothing but names would not notice other weights under the
same name. So every tensor gives its name, type, shape and pieces from fixed places of its bytes.
"""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from streamkv_cli.errors import DiskError, ModelError

_PIECE = 1024
_PIECES = 8
_LARGEST_HEADER = 100 << 20


def weights_fingerprint(files: list[Path]) -> str:
    """xxh3-128 of all tensors' names, types, shapes and sampled bytes, as 32 hex digits.

    A tensor of up to 8 KiB is read whole; of a larger one, 8 pieces of 1 KiB spread evenly from
    its first byte to its last. How tensors are spread over files plays no part.

    Args:
        files: the checkpoint's safetensors files.

    Raises:
        ModelError: a file is not a whole safetensors file.
    """
    digests = sorted(pair for path in files for pair in _tensor_digests(path))
    total = xxhash.xxh3_128()
    for name, digest in digests:
        total.update(name.encode())
        total.update(digest)
    return total.hexdigest()


def _tensor_digests(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _read_header(path, file.read(8), file.fileno(), size)
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                first, last = entry["data_offsets"]
                if start + last > size:
                    raise ModelError(
                        f"{path} is cut short: {name} should end at byte {start + last} of {size}",
                        "the download is incomplete; fetch the model again",
                    )
                digest = xxhash.xxh3_128(f"{entry['dtype']}{entry['shape']}".encode())
                for offset, length in _pieces(last - first):
                    digest.update(os.pread(file.fileno(), length, start + first + offset))
                yield name, digest.digest()
    except OSError as error:
        raise DiskError(f"{path} cannot be read: {error.strerror}") from None


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
    except ValueError:
        raise ModelError(
            f"{path} has a damaged header", "the download is incomplete; fetch the model again"
        ) from None


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    if size <= _PIECE * _PIECES:
        yield 0, size
        return
    for i in range(_PIECES):
        yield (size - _PIECE) * i // (_PIECES - 1), _PIECE
