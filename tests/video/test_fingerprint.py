import itertools
from pathlib import Path

import pytest
import xxhash

from streamkv_cli.errors import VideoError
from streamkv_cli.video import fingerprint
from streamkv_cli.video.fingerprint import PIECE, PIECES

LARGE = 4 * PIECE * PIECES


def sparse(path: Path, size: int, at: int | None = None) -> Path:
    with open(path, "wb") as file:
        file.truncate(size)
        if at is not None:
            file.seek(at)
            file.write(b"x")
    return path


def test_content_alone_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "b.mkv"
    first.write_bytes(b"same")
    second.write_bytes(b"same")
    assert fingerprint(first) == fingerprint(str(second))
    second.write_bytes(b"diff")
    assert fingerprint(first) != fingerprint(second)


def test_it_is_the_documented_hash(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert fingerprint(path) == xxhash.xxh3_128_hexdigest(b"\3" + b"\0" * 7 + b"abc")
    assert len(fingerprint(path)) == 32


@pytest.mark.parametrize("at", [0, PIECE - 1, LARGE - 1, LARGE - PIECE])
def test_first_and_last_piece_are_read(tmp_path: Path, at: int) -> None:
    assert fingerprint(sparse(tmp_path / "a", LARGE)) != fingerprint(
        sparse(tmp_path / "b", LARGE, at)
    )


def test_fourteen_pieces_between_are_read(tmp_path: Path) -> None:
    plain = fingerprint(sparse(tmp_path / "plain", LARGE))
    seen = [
        at
        for at in range(0, LARGE, PIECE // 2)
        if fingerprint(sparse(tmp_path / "x", LARGE, at)) != plain
    ]
    assert 2 * 14 <= len(seen) <= 2 * (PIECES + 1)
    assert max(b - a for a, b in itertools.pairwise(seen)) <= LARGE // (PIECES - 1)


def test_size_counts_and_small_files_are_read_whole(tmp_path: Path) -> None:
    size = PIECE * PIECES
    assert fingerprint(sparse(tmp_path / "a", size)) != fingerprint(
        sparse(tmp_path / "b", size + 1)
    )
    middle = fingerprint(sparse(tmp_path / "c", size, size // 2 + 777))
    assert middle != fingerprint(tmp_path / "a")


def test_unreadable_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4 cannot be read: No such file") as caught:
        fingerprint(tmp_path / "gone.mp4")
    assert "\n" not in str(caught.value)
