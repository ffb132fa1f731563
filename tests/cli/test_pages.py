"""`--html`: pages as files, and in a real browser."""

import io
import json
import os
import re
import shutil
import stat
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from store.segment_file import read_head
from streamkv_cli.app import app
from tests.browser import Seen, browser, look_at
from tests.cli.test_commands import json_lines, one_line_error
from tests.clips import numbered, write_clip
from tests.conftest import Streamkv
from tests.store.samples import flip

HOSTILE = "<img src=x onerror=alert(1)>&\"' \u202egpm.4pm"
"""As a file may be called: markup, quotes, and a sign that turns the text behind it around."""

QUESTION = "who is <b>here</b> & why?"

BAD_PAGE = '<!doctype html><img src="http://elsewhere.invalid/x.png"><script>nowhere()</script>'
"""What ours must not do."""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Seen | None:
    """What the browser says of a bad page; None where there is no browser, or it does not start."""
    if browser() is None:
        return None
    page = tmp_path_factory.mktemp("bad") / "bad.html"
    page.write_text(BAD_PAGE)
    try:
        return look_at(page)
    except (AssertionError, subprocess.TimeoutExpired):
        return None


@pytest.fixture(scope="module")
def films(tiny: Path, demo_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a video of a hostile name, and of one that was ingested without pictures."""
    folder = tmp_path_factory.mktemp("films")
    hostile = shutil.copy(demo_video, folder / HOSTILE)
    plain = write_clip(folder / "plain.mp4", numbered(40), fps=10)
    common = ["--model", tiny, "--fps", "1", "--store", folder / "kv", "-q", "--dtype", "float32"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STREAMKV_CONFIG", str(folder / "none.toml"))
        for words in ([hostile], [plain, "--no-thumbnails"]):
            with pytest.raises(SystemExit) as ended:
                app([str(word) for word in ["ingest", *words, *common]])
            assert ended.value.code == 0
    return folder / "kv"


@pytest.fixture
def asked(films: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> Path:
    """That store, as the one the command line uses."""
    monkeypatch.setenv("STREAMKV_STORE", str(films))
    return films


def pictures(page: str) -> list[str]:
    return re.findall(r'<img src="(data:image/jpeg;base64,[^"]+)"', page)


def refers_to_nothing_outside(page: str) -> None:
    """Whatever a name or a question holds, the page loads nothing and runs nothing."""
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    addresses = re.findall(r"""<[^>]*?\b(?:src|href|srcset|action|data)="([^"]*)""", page)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(
        r"<(script|iframe|object|embed|video|form)\b|@import|url\(|\bon\w+=\"", page
    )
    assert "<img src=x" not in page
    assert "\u202e" not in page


def is_not_blank(picture: np.ndarray) -> None:
    """It shows a good deal besides its ground, in many colours, as photographs bring."""
    colours, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    assert len(colours) > 200
    assert counts.max() < 0.95 * counts.sum()


def test_a_videos_page_holds_its_segments(streamkv: Streamkv, asked: Path, tmp_path: Path) -> None:
    place = tmp_path / "film.html"
    place.write_text("an older page")
    result = streamkv("show", "<img*", "--html", place)
    assert (result.returncode, result.stdout) == (0, "")
    assert re.fullmatch(r"wrote .*film\.html \([\d.]+ KiB\)\n", result.stderr)
    assert os.listdir(tmp_path) == ["film.html"]
    assert place.stat().st_mode & 0o777 == 0o666 & ~umask()
    page = place.read_text()
    refers_to_nothing_outside(page)
    assert f"<h1>{HOSTILE.split(' ')[0]}" in unescape(page)
    assert len(re.findall(r'<article class="card"', page)) == 6
    assert len(set(pictures(page))) == 6
    assert "no picture" not in page
    for words in ("0:00-0:08", "0:40-0:48", "8 frames", "layer </span>2"):
        assert words in page
    assert str(asked.parent) not in page  # where the video lies is nobody's business
    plain = streamkv("show", "plain.mp4", "--html", "-")
    assert (plain.returncode, plain.stderr) == (0, "")
    refers_to_nothing_outside(plain.stdout)
    assert pictures(plain.stdout) == []
    assert "made without pictures" in plain.stdout
    assert "no picture" in plain.stdout


def test_answers_come_with_frames_of_what_they_rest_on(
    streamkv: Streamkv,
    asked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bad: Seen | None,
) -> None:
    questions = [QUESTION, json.dumps({"question": "and here?", "video": "nowhere.mp4"}), "what?"]
    stdin = io.TextIOWrapper(io.BytesIO("\n".join(questions).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    place = tmp_path / "answers.html"
    words = ("--blocks", "4", "--max-new-tokens", "4", "--html", place, "--json")
    result = streamkv("ask", "-", *words)
    assert result.returncode == 3
    told = json_lines(result.stdout)
    assert [line["type"] for line in told] == ["answer", "failed", "answer"]
    page = place.read_text()
    refers_to_nothing_outside(page)
    for line in told:
        assert unescape(page).count(f"<h2>{line['question']}</h2>") == 1
    assert "no video nowhere.mp4 in the store" in page
    assert page.count('<article class="answer"') == 3
    assert 2 <= len(pictures(page)) <= 48
    pieces = re.findall(r"<strong>([\d:.]+-[\d:.]+)</strong>", page)
    assert len(pieces) == sum(min(6, len(line.get("evidence", []))) for line in told)
    if bad is not None:
        seen = look_at(place)
        is_not_blank(seen.picture)
        assert (seen.console, seen.calls) == ([], set())


def test_each_video_is_answered_on_the_page(
    streamkv: Streamkv, asked: Path, tmp_path: Path
) -> None:
    words = ("--max-new-tokens", "2", "--blocks", "4", "--html")
    result = streamkv("ask", "what?", "--each", *words, tmp_path / "each.html")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2
    page = (tmp_path / "each.html").read_text()
    assert re.search(r"<h1>what\?</h1>", page)
    assert len(re.findall(r"<h2>plain\.mp4</h2>", page)) == 1
    assert page.count("no picture") >= 1
    only = streamkv("ask", "what?", *words, "-")
    assert only.returncode == 0
    assert only.stdout.startswith("<!doctype html>")
    assert only.stdout.rstrip().endswith("</html>")
    refers_to_nothing_outside(only.stdout)


def test_a_page_in_a_browser(
    streamkv: Streamkv, asked: Path, tmp_path: Path, bad: Seen | None
) -> None:
    if bad is None:
        pytest.skip("no chromium on PATH that starts here: pages are not looked at")
    assert bad.calls == {"http://elsewhere.invalid/x.png"}
    assert any("nowhere is not defined" in line for line in bad.console)
    with pytest.raises(AssertionError):
        is_not_blank(bad.picture)
    place = tmp_path / "film.html"
    assert streamkv("show", "<img*", "--html", place).returncode == 0
    seen = look_at(place, 1200, 1600)
    is_not_blank(seen.picture)
    assert (seen.console, seen.calls) == ([], set())
    # The red circle of the fourth scene, which only a thumbnail can have brought here.
    red, green, blue = (seen.picture[..., i].astype(int) for i in range(3))
    assert ((red > 180) & (green < 90) & (blue < 90)).sum() > 500


def test_a_page_that_cannot_be_written_is_one_line(
    streamkv: Streamkv, asked: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.html").mkdir()
    for place in ("nowhere/out.html", "folder.html"):
        for command in (("show", "plain.mp4"), ("ask", "what?")):
            line = one_line_error(streamkv(*command, "--html", tmp_path / place), 5)
            assert "cannot be written" in line
    assert os.listdir(tmp_path / "folder.html") == []
    assert "both want stdout" in one_line_error(streamkv("ask", "x", "--html", "-", "--json"), 2)
    one_line_error(streamkv("ask", "what?", "--video", "no", "--html", tmp_path / "no.html"), 1)
    assert not (tmp_path / "no.html").exists()
    (tmp_path / "link.html").symlink_to("real.html")
    assert streamkv("show", "plain.mp4", "--html", tmp_path / "link.html").returncode == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_text().startswith("<!doctype html>")
    # What is no file is written to, and not replaced.
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        result = streamkv("show", "plain.mp4", "--html", tmp_path / "pipe")
        assert result.returncode == 0, result.stderr
        assert os.read(reader, 15) == b"<!doctype html>"
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    finally:
        os.close(reader)


def _with_a_damaged_picture(films: Path, store: Path) -> None:
    """The films' store again, a bit flipped in a picture of the third segment."""
    shutil.copytree(films, store)
    files = [p for p in store.glob("videos/*/*.safetensors") if read_head(p).layout.attachments]
    path = sorted(files)[2]
    flip(path, read_head(path).layout.total - 9)


def test_a_damaged_picture_is_left_out_and_told(
    streamkv: Streamkv, films: Path, store: Path, tmp_path: Path
) -> None:
    _with_a_damaged_picture(films, store)
    result = streamkv("show", "<img*", "--html", tmp_path / "film.html")
    assert result.returncode == 0
    warning, wrote = result.stderr.splitlines()
    assert warning.startswith("warning: a picture is missing: attachment 'thumbnail-")
    assert "segment 2" in warning
    assert wrote.startswith("wrote")
    page = (tmp_path / "film.html").read_text()
    assert (len(set(pictures(page))), page.count("no picture")) == (5, 1)


def test_a_repair_takes_a_damaged_picture_out_and_keeps_its_segment(
    streamkv: Streamkv, films: Path, store: Path, tmp_path: Path
) -> None:
    _with_a_damaged_picture(films, store)
    whole = _lengths(streamkv)
    found = streamkv("check", "--read-data")
    assert (found.returncode, found.stdout.count("\n")) == (4, 1)
    assert "streamkv repair takes it out of its file and keeps the segment" in found.stdout
    for flags, will in ((("--dry-run",), "it would be taken out"), ((), "it is taken out")):
        repaired = streamkv("repair", *flags)
        assert repaired.returncode == 4
        assert repaired.stderr.splitlines()[0].endswith(f"checksum mismatch; {will}")
    assert streamkv("repair", "-q").returncode == 0
    assert (streamkv("check", "--read-data").returncode, streamkv("prune").stdout) == (0, "")
    assert _lengths(streamkv) == whole
    result = streamkv("show", "<img*", "--html", tmp_path / "film.html")
    assert "missing" not in result.stderr
    assert len(set(pictures((tmp_path / "film.html").read_text()))) == 5


def _lengths(streamkv: Streamkv) -> list[tuple[int, bool]]:
    """Segments of each video, and whether it is complete."""
    listed = map(json.loads, streamkv("ls", "--json").stdout.splitlines())
    return [(video["segments"], video["complete"]) for video in listed]


def test_a_video_goes_on_with_or_without_pictures_as_it_was_begun(
    streamkv: Streamkv, store: Path, tiny: Path, demo_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("ingest", demo_video, "-m", tiny, "--fps", "1", "-q")
    with monkeypatch.context() as patch:
        patch.setenv("STREAMKV_THUMBNAILS", "false")
        assert streamkv(*words).returncode == 0
    files = sorted(store.glob("videos/*/*.safetensors"))
    whole = {path: path.read_bytes() for path in files}
    assert not any(b"thumbnail-" in data for data in whole.values())

    def lose_and_fill(*flags: str) -> bool:
        files[2].unlink()
        assert streamkv("repair", "-q").returncode == 4
        page = streamkv("show", "scenes.mp4", "--html", "-").stdout
        assert "1 segment lost before 0:32" in page
        assert len(re.findall(r'<article class="card"', page)) == 5
        filled = streamkv("ingest", demo_video, "--as-stored", "-q", *flags)
        assert filled.returncode == 0, filled.stderr
        return b"thumbnail-" in files[2].read_bytes()

    assert not lose_and_fill()
    assert {path: path.read_bytes() for path in files} == whole
    assert lose_and_fill("--thumbnails")
    assert streamkv("rm", "scenes.mp4", "-q").returncode == 0
    assert streamkv(*words, "--thumbnails").returncode == 0
    assert all(b"thumbnail-" in path.read_bytes() for path in files)
    assert not lose_and_fill("--no-thumbnails")


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
