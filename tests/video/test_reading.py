"""What comes out of files of all kinds: which picture, at which time, which way up."""

from pathlib import Path

import numpy as np
import pytest

from streamkv_cli.video import Frame, FrameReader, open_video
from tests.clips import damaged, number_picture, numbered, read_number, rotated, write_clip

DECODERS = ("auto", "pyav")


def read(path: Path, **options: object) -> tuple[FrameReader, list[Frame]]:
    with open_video(path, **options) as reader:  # type: ignore[arg-type]
        return reader, list(reader)


def seen(frames: list[Frame]) -> list[tuple[int, float, int]]:
    return [(f.index, round(f.time, 3), read_number(f.pixels)) for f in frames]


EVEN = [(k, k / 2, 5 * k) for k in range(6)]

PLAIN = {
    "h264.mp4": {"options": {"g": "10", "bf": "2"}},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "open_groups.mp4": {"codec": "mpeg4", "options": {"g": "10", "bf": "2"}},
    "broadcast.ts": {},
    "tenbit.mkv": {"pix_fmt": "yuv420p10le"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}},
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", PLAIN)
def test_samples_are_the_pictures_on_screen(tmp_path: Path, name: str, decoder: str) -> None:
    path = write_clip(tmp_path / name, numbered(30), **PLAIN[name])  # type: ignore[arg-type]
    reader, frames = read(path, fps=2, decoder=decoder)
    assert seen(frames) == EVEN
    assert (reader.info.width, reader.info.height) == (96, 64)
    assert frames[0].pixels.shape == (64, 96, 3)
    assert frames[0].pixels.dtype == np.uint8
    assert reader.decode_seconds > 0


def test_decord_decodes_an_ordinary_file_without_a_word(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", numbered(30), options={"g": "10", "bf": "2"})
    reader, frames = read(path, fps=10)
    assert reader.info.decoder == "decord"
    assert reader.info.duration == pytest.approx(3.0)
    assert reader.info.codec == "h264"
    assert reader.warnings == []
    assert [read_number(f.pixels) for f in frames] == list(range(30))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rate_follows_presentation_time(tmp_path: Path, suffix: str, decoder: str) -> None:
    path = write_clip(tmp_path / f"v.{suffix}", numbered(6), pts=[0, 0.1, 0.9, 1, 5, 5.2])
    _, frames = read(path, fps=2, decoder=decoder)
    numbers = [0, 1, 3, 3, 3, 3, 3, 3, 3, 3, 4]
    assert seen(frames) == [(k, k / 2, n) for k, n in enumerate(numbers)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_late_first_picture_keeps_its_time(tmp_path: Path, decoder: str) -> None:
    times = [2 + n / 10 for n in range(20)]
    path = write_clip(tmp_path / "late.mp4", numbered(20), pts=times, sound=(0, 4))
    reader, frames = read(path, fps=2, decoder=decoder)
    assert seen(frames) == [(0, 2.0, 0), (1, 2.5, 5), (2, 3.0, 10), (3, 3.5, 15)]
    assert reader.info.duration == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("decoder", DECODERS)
def test_best_stream_is_taken(tmp_path: Path, decoder: str) -> None:
    path = write_clip(
        tmp_path / "two.mp4", numbered(20, 192, 128), second=[number_picture(255)] * 20
    )
    reader, frames = read(path, fps=2, decoder=decoder)
    assert (reader.info.width, reader.info.height) == (192, 128)
    assert [read_number(f.pixels) for f in frames] == [0, 5, 10, 15]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    "matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (0, 1, 1, 0)]
)
def test_turned_and_mirrored_pictures_come_out_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], decoder: str
) -> None:
    # Store the picture the wrong way, such that the matrix puts it right: a player sees number 5.
    a, b, c, d = matrix
    right = number_picture(5)
    lying = right.transpose(1, 0, 2) if b else right
    if (b or a) < 0:
        lying = lying[:, ::-1]
    if (c or d) < 0:
        lying = lying[::-1]
    path = rotated(write_clip(tmp_path / "r.mp4", [np.ascontiguousarray(lying)] * 3), matrix)
    reader, frames = read(path, fps=10, decoder=decoder)
    assert [read_number(f.pixels) for f in frames] == [5, 5, 5]
    assert (reader.info.width, reader.info.height) == (96, 64)
    assert frames[0].pixels.shape == (64, 96, 3)


@pytest.mark.parametrize("decoder", DECODERS)
def test_max_side_shrinks_and_keeps_proportions(tmp_path: Path, decoder: str) -> None:
    path = write_clip(tmp_path / "big.mp4", numbered(5, 192, 128))
    reader, frames = read(path, fps=10, decoder=decoder, max_side=96)
    assert (reader.info.width, reader.info.height) == (96, 64)
    assert [read_number(f.pixels) for f in frames] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("bf", ["0", "3"])
def test_start_skips_and_changes_nothing_else(tmp_path: Path, decoder: str, bf: str) -> None:
    path = write_clip(tmp_path / "long.mp4", numbered(200), fps=2, options={"g": "30", "bf": bf})
    _, full = read(path, fps=1, decoder=decoder)
    for start in (3.0, 59.5, 61.0, 99.0):  # below and above what is worth a seek
        _, late = read(path, fps=1, decoder=decoder, start=start)
        assert seen(late) == [row for row in seen(full) if row[1] >= start]
        for frame in late:
            np.testing.assert_array_equal(frame.pixels, full[frame.index].pixels)
    assert len(full) == 100
    assert read(path, fps=1, decoder=decoder, start=500.0)[1] == []


def test_both_decoders_give_the_same_pixels(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", numbered(40), options={"g": "12", "bf": "3"})
    (one, first), (two, second) = read(path, fps=3, decoder="decord"), read(path, fps=3)
    _, third = read(path, fps=3, decoder="pyav")
    assert (one.info.decoder, two.info.decoder) == ("decord", "decord")
    assert len(first) == len(second) == len(third) == 12
    for a, b in zip(first, third, strict=True):
        assert (a.index, a.time) == (b.index, b.time)
        assert np.abs(a.pixels.astype(int) - b.pixels.astype(int)).mean() < 0.5


def test_frames_belong_to_the_receiver(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", numbered(60))
    with open_video(path, fps=10, ahead=1) as reader:
        frames = list(reader)
    assert [read_number(f.pixels) for f in frames] == list(range(60))
    frames[0].pixels[:] = 0
    assert read_number(frames[1].pixels) == 1


def test_changing_size_and_missing_time_stamps(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "a.h264", numbered(10))
    large = write_clip(tmp_path / "b.h264", numbered(20, 192, 128)[10:])
    both = tmp_path / "c.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    reader, frames = read(both, fps=25, decoder="pyav")  # libav supposes 25 pictures a second
    assert {f.pixels.shape for f in frames} == {(64, 96, 3)}
    assert (reader.info.width, reader.info.height) == (96, 64)
    assert [read_number(f.pixels) for f in frames] == list(range(20))


SHARED = Path(__file__).parents[3] / "shared" / "video"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared clips are not here")
def test_real_files_agree_between_decoders() -> None:
    for path in sorted(SHARED.glob("*.m[pko][4v]")):
        if path.name == "corrupted.mp4":
            continue
        (_, auto), (_, pyav) = read(path, fps=2), read(path, fps=2, decoder="pyav")
        assert len(auto) == len(pyav) > 0, path.name
        for a, b in zip(auto, pyav, strict=True):
            assert (a.index, a.time) == (b.index, pytest.approx(b.time)), path.name
            np.testing.assert_array_equal(a.pixels, b.pixels, err_msg=path.name)


def test_clip_maker_damages_what_it_says(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", numbered(10))
    before = path.read_bytes()
    after = damaged(path, at=0.5, length=20).read_bytes()
    changed = [n for n, (x, y) in enumerate(zip(before, after, strict=True)) if x != y]
    assert 10 < len(changed) <= 20
    assert changed[-1] - changed[0] < 20


def test_a_late_first_picture_comes_late(tmp_path: Path) -> None:
    """Where 0 is the beginning of the film, as in mp4; not so in MPEG transport streams."""
    late = [2.0 + i / 10 for i in range(20)]
    for name, first in (("late.mp4", 2.0), ("late.mkv", 2.0), ("late.ts", 0.0)):
        path = write_clip(tmp_path / name, numbered(20), fps=10, pts=late)
        for decoder in ("auto", "pyav"):
            _, frames = read(path, fps=2, decoder=decoder)
            assert [f.time for f in frames] == pytest.approx([first + i / 2 for i in range(4)])
