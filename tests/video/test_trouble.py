"""Damaged, broken and impossible sources: one clear line, and never a wrong picture."""

import os
from pathlib import Path

import pytest

from streamkv_cli.errors import StreamKVError, UsageError, VideoError
from streamkv_cli.video import open_video
from tests.clips import damaged, number_picture, numbered, read_number, truncated, write_clip

GROUPS = {"g": "20", "bf": "2"}


def failure(path: Path | str, **options: object) -> StreamKVError:
    with pytest.raises(StreamKVError) as caught, open_video(path, **options) as reader:  # type: ignore[arg-type]
        list(reader)
    error = caught.value
    assert "\n" not in str(error)
    assert error.remedy
    return error


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("seed", range(3))
def test_damage_is_an_error_that_names_file_and_second(
    tmp_path: Path, seed: int, decoder: str
) -> None:
    path = damaged(write_clip(tmp_path / "bad.mp4", numbered(100), options=GROUPS), seed=seed)
    error = failure(path, fps=2, decoder=decoder)
    assert isinstance(error, VideoError)
    assert f"{path} is damaged at " in error.what
    second = float(error.what.rsplit(" at ", 1)[1].removesuffix(" s"))
    assert 3.0 < second < 6.0
    assert "--skip-damaged" in error.remedy


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("seed", range(4))
def test_skipping_leaves_out_and_never_replaces(tmp_path: Path, seed: int, codec: str) -> None:
    path = write_clip(tmp_path / "bad.mp4", numbered(100), codec=codec, options=GROUPS)
    damaged(path, at=0.3 + seed / 10, length=150, seed=seed)
    with open_video(path, fps=10, decoder="pyav", skip_damaged=True) as reader:
        frames = list(reader)
    assert [read_number(f.pixels) for f in frames] == [f.index for f in frames]
    missing = sorted(set(range(100)) - {f.index for f in frames})
    assert 0 < len(missing) <= 45
    assert missing[-1] < 95  # it goes on behind the damage
    assert len(reader.warnings) == 1
    assert f"is damaged: {len(missing)} samples between " in reader.warnings[0]


def test_auto_finds_damage_behind_what_decord_gave(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "bad.mp4", numbered(200), options=GROUPS)
    damaged(path, at=0.6, length=150)
    given = []
    with pytest.raises(VideoError, match=r"is damaged at"), open_video(path, fps=10) as reader:
        given.extend((f.index, read_number(f.pixels)) for f in reader)
    assert all(index == number for index, number in given)
    with open_video(path, fps=10, skip_damaged=True) as reader:
        frames = list(reader)
    assert [read_number(f.pixels) for f in frames] == [f.index for f in frames]
    assert frames[-1].index == 199
    assert "in place of decord" in reader.warnings[0]


def test_file_cut_off_in_its_pictures(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "cut.mp4", numbered(100), container_options={"movflags": "faststart"}
    )
    truncated(path, 0.6)
    error = failure(path, fps=10)
    assert "cut.mp4 is cut off: it ends at " in error.what
    assert error.what.endswith(" of 10.0 s")
    with open_video(path, fps=10, skip_damaged=True) as reader:
        frames = list(reader)
    assert [read_number(f.pixels) for f in frames] == list(range(len(frames)))
    assert 20 < len(frames) < 90
    assert any("is cut off" in warning for warning in reader.warnings)


def test_matroska_cut_off(tmp_path: Path) -> None:
    path = truncated(write_clip(tmp_path / "cut.mkv", numbered(100)), 0.5)
    assert "is cut off: it ends at" in failure(path).what


def test_mp4_without_its_index(tmp_path: Path) -> None:
    path = truncated(write_clip(tmp_path / "cut.mp4", numbered(50)), 0.5)
    assert "is not a video, or is cut off" in failure(path).what


def test_what_is_no_video(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("just words\n" * 500)
    assert "notes.txt is not a video, but text" in failure(text).what
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(os.urandom(50_000))
    assert "noise.mp4 is not a video" in failure(noise).what
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert failure(empty).what == f"{empty} is empty"
    assert failure(tmp_path).what == f"{tmp_path} is a directory, not a video"
    gone = tmp_path / "gone.mp4"
    assert failure(gone).what == f"{gone} does not exist"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "mine.mp4", numbered(3))
    path.chmod(0)
    assert failure(path).what == f"{path} may not be read"


def test_sound_without_pictures(tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=8000)
        frame.sample_rate = 8000
        frame.planes[0].update(bytes(16000))
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert failure(path).what == f"{path} holds no video"


def test_cover_picture_is_no_video(tmp_path: Path) -> None:
    import av
    from av.stream import Disposition

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "rgb24"
        cover.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=8000)
        frame = av.VideoFrame.from_ndarray(number_picture(1), format="rgb24")
        for packet in [*cover.encode(frame), *cover.encode(None)]:
            container.mux(packet)
        audio = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        audio.sample_rate = 8000
        audio.planes[0].update(bytes(4096))
        for packet in [*sound.encode(audio), *sound.encode(None)]:
            container.mux(packet)
    assert failure(path).what == f"{path} holds no video, only a cover picture"


def test_address_without_its_password() -> None:
    error = failure("http://user:secret@127.0.0.1:9/cam", stall_seconds=20)
    assert "secret" not in str(error)
    assert "http://127.0.0.1:9/cam cannot be opened: connection refused" in error.what


@pytest.mark.parametrize(
    "options",
    [{"fps": 0}, {"fps": float("nan")}, {"ahead": 0}, {"stall_seconds": 0}, {"max_side": 0}],
)
def test_impossible_arguments(tmp_path: Path, options: dict[str, float]) -> None:
    assert isinstance(failure(tmp_path / "any.mp4", **options), UsageError)


def test_unknown_decoder_and_decord_on_a_stream(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", numbered(3))
    assert isinstance(failure(path, decoder="best"), UsageError)
    assert isinstance(failure("/dev/stdin", decoder="decord"), UsageError)


def test_decord_alone_refuses_what_it_gets_wrong(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "o.mp4", numbered(30), codec="mpeg4", options=GROUPS)
    error = failure(path, decoder="decord")
    assert "open groups of pictures" in error.what
    assert "--decoder pyav" in error.remedy
