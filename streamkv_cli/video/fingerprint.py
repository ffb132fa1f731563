"""Identify a video by its content, without reading all of it."""

from pathlib import Path

from streamkv_cli.errors import VideoError

PIECE = 64 * 1024
PIECES = 16


def fingerprint(path: str | Path) -> str:
    """XXH3-128 of a regular file's size and 16 pieces of it, as 32 hex digits.

    The pieces are 64 KiB each, evenly spread from the first byte to the last; a file no longer than
    all of them together is hashed whole. Name, folder and modification time play no part, so a
    moved or copied video keeps its fingerprint on every machine.

    Raises:
        VideoError: the file cannot be read.
    """
    import xxhash

    digest = xxhash.xxh3_128()
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            digest.update(size.to_bytes(8, "little"))
            for offset in _offsets(size):
                file.seek(offset)
                digest.update(file.read(PIECE))
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    return digest.hexdigest()


def _offsets(size: int) -> list[int]:
    if size <= PIECES * PIECE:
        return list(range(0, size, PIECE))
    return [i * (size - PIECE) // (PIECES - 1) for i in range(PIECES)]
