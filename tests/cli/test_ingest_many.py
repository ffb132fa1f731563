"""Many videos in one run: folders, globs, lists on stdin, duplicates, bad ones, killed runs."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamkv_cli.commands.sources import Sources, lines
from streamkv_cli.errors import UsageError
from tests.clips import numbered, write_clip
from tests.conftest import Streamkv


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def clip(path: Path, first: int, count: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_clip(path, numbered(first + count)[first:], fps=10)


def digest(store: Path) -> dict[str, str]:
    """Every segment file of a store with the hash of its bytes."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("videos/*/*.safetensors"))
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three videos, one of them twice, and what is found beside videos in real folders."""
    top = tmp_path / "films"
    clip(top / "b.mp4", 0)
    clip(top / "a.mkv", 40)
    clip(top / "deep" / "er" / "C d.MP4", 80)
    shutil.copy(top / "b.mp4", top / "deep" / "twin.mp4")
    clip(top / ".trash" / "old.mp4", 120)
    (top / "notes.txt").write_text("not a film")
    (top / "deep" / "up").symlink_to(top)
    return top


def found(sources: Sources) -> list[str]:
    names = []
    while (named := sources.take()) is not None:
        names.append(named.source if named.error is None else f"error: {named.error.what}")
    return names


def test_folders_are_walked_and_globs_expanded(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    walked = ["films/a.mkv", "films/b.mp4", "films/deep/twin.mp4", "films/deep/er/C d.MP4"]
    assert found(Sources(["films"])) == walked
    assert found(Sources(["films/b.mp4", "films", "./films/b.mp4"])) == [
        "films/b.mp4",
        "films/a.mkv",
        *walked[2:],
    ]
    assert found(Sources(["films/**/*.mp4"])) == ["films/b.mp4", "films/deep/twin.mp4"]
    assert found(Sources(["*.avi", "rtsp://u:p@host/*"])) == [
        "error: *.avi matches no file",
        "rtsp://u:p@host/*",
    ]
    (archive / "what[1].mp4").touch()
    assert found(Sources(["films/what[1].mp4"])) == ["films/what[1].mp4"]


def test_a_folder_that_may_not_be_read_is_a_failure(archive: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (archive / "deep").chmod(0)
    try:
        assert any("Permission denied" in name for name in found(Sources([str(archive)])))
    finally:
        (archive / "deep").chmod(0o755)


def test_a_link_back_up_is_walked_once(archive: Path) -> None:
    shutil.rmtree(archive / "deep" / "er")
    names = [Path(name).name for name in found(Sources([str(archive)]))]
    assert names == ["a.mkv", "b.mp4", "twin.mp4"]


def test_a_list_is_ingested_while_it_grows(process: Streamkv, tiny: Path, archive: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "streamkv_cli", "ingest", "-", "-m", str(tiny), "--json", "-q"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdin is not None
    assert run.stdout is not None
    for name in ("b.mp4", "a.mkv"):
        run.stdin.write(f"{archive / name}\n")
        run.stdin.flush()
        assert json.loads(run.stdout.readline())["name"] == name
    out, _ = run.communicate(timeout=60)
    assert (out, run.returncode) == ("", 0)


def test_an_archive_through_find(
    process: Streamkv, streamkv: Streamkv, tiny: Path, archive: Path
) -> None:
    (archive / "empty.mp4").touch()
    (archive / "line\nbreak.mp4").write_bytes((archive / "a.mkv").read_bytes())
    listing = subprocess.run(
        ["find", str(archive), "-type", "f", "-not", "-path", "*/.*", "-print0"],
        capture_output=True,
        check=True,
    )
    files = archive.parent / "list"
    files.write_bytes(listing.stdout)
    with files.open("rb") as stdin:
        result = process("ingest", "-0", "-", "-m", tiny, "--json", stdin=stdin)
    assert result.returncode == 3, result.stderr
    lines = json_lines(result.stdout)
    assert len(lines) == 7
    statuses = sorted(line["status"] for line in lines)
    assert statuses == ["done"] * 3 + ["duplicate"] * 2 + ["failed"] * 2
    assert all({"type", "status", "path", "seconds", "bytes"} <= set(line) for line in lines)
    assert all(line["seconds"] == 3 for line in lines if line["status"] != "failed")
    *_, count, first, second = result.stderr.strip().splitlines()
    assert count == "error: 2 of 7 videos failed"
    assert {"empty.mp4", "notes.txt"} == {Path(w.split()[0]).name for w in (first, second)}
    assert "7 videos: 3 ingested, 2 the same as others, 2 failed; 0:09 of video" in result.stderr

    (archive / "b.mp4").rename(archive / "renamed.mp4")
    again = streamkv("ingest", archive / "renamed.mp4", "-m", tiny)
    assert again.returncode == 0
    assert "renamed.mp4 is already ingested as" in again.stderr


def test_what_is_done_is_skipped_without_model_or_decoder(
    streamkv: Streamkv, process: Streamkv, tiny: Path, archive: Path, store: Path
) -> None:
    assert streamkv("ingest", archive, "-m", tiny, "-q").returncode == 0
    probe = (
        "import sys\nfrom streamkv_cli.app import app\n"
        f"try:\n    app(['ingest', {str(archive)!r}, '-m', {str(tiny)!r}])\n"
        "except SystemExit as e:\n    assert not e.code, e.code\n"
        "print(sorted({'transformers', 'av', 'decord'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr
    assert result.stderr.count("nothing to do") == 4


def test_tags_are_given_at_the_ingest_and_changed_later(
    streamkv: Streamkv, tiny: Path, tmp_path: Path
) -> None:
    one, two = clip(tmp_path / "1.mp4", 0), clip(tmp_path / "2.mp4", 40)
    words = ("-m", tiny, "--tag", "place=lobby")
    result = streamkv("ingest", one, two, *words, "--tag", "cam=1", "--json")
    assert [line["tags"] for line in json_lines(result.stdout)] == [
        {"cam": "1", "place": "lobby"}
    ] * 2
    again = streamkv("ingest", two, "-m", tiny, "--tag", "place=door", "--json")
    assert json_lines(again.stdout)[0]["tags"] == {"cam": "1", "place": "door"}
    assert "1.mp4" in streamkv("ls", "--tag", "place=lobby").stdout.splitlines()[1]
    result = streamkv("tag", "cam=", "seen=yes", "--tag", "place=l*", "--json")
    assert [(line["name"], line["tags"]) for line in json_lines(result.stdout)] == [
        ("1.mp4", {"place": "lobby", "seen": "yes"})
    ]
    assert streamkv("repair", "-q").returncode == 0
    assert streamkv("ls").stdout.split()[-2:] == ["cam=1", "place=door"]
    assert streamkv("tag", "a=b").returncode == 2
    assert streamkv("ingest", one, "-m", tiny, "--tag", "place").returncode == 2
    assert json_lines(streamkv("rm", "--tag", "seen", "--json").stdout)[0]["name"] == "1.mp4"


def test_a_dry_run_says_what_would_be_done(
    streamkv: Streamkv, tiny: Path, archive: Path, store: Path
) -> None:
    words = ["ingest", archive, "-m", tiny, "--dry-run"]
    lines = json_lines(streamkv(*words, "--json").stdout)
    assert [line["status"] for line in lines] == ["new", "new", "duplicate", "new"]
    assert not store.exists()
    assert streamkv("ingest", archive / "b.mp4", "-m", tiny, "-q").returncode == 0
    (archive / "new.mp4").write_bytes(b"")
    result = streamkv(*words)
    assert result.returncode == 3
    assert "would ingest" in result.stderr
    assert "b.mp4 is already ingested" in result.stderr
    assert "new.mp4 is empty" in result.stderr
    assert len(json_lines(streamkv("ls", "--json").stdout)) == 1


def test_jobs_change_nothing_but_the_time(
    streamkv: Streamkv, tiny: Path, archive: Path, tmp_path: Path
) -> None:
    (archive / "bad.mp4").write_bytes(b"nothing")
    runs = []
    for jobs in (1, 3):
        place = tmp_path / f"jobs{jobs}"
        words = ("ingest", archive, "-m", tiny, "--jobs", str(jobs), "-s", place, "--json")
        lines = json_lines(streamkv(*words).stdout)
        runs.append(([(line["status"], line["path"]) for line in lines], digest(place)))
    assert runs[0] == runs[1]
    assert [status for status, _ in runs[0][0]] == ["done", "done", "failed", "duplicate", "done"]
    assert len(runs[0][1]) >= 3


@pytest.mark.parametrize(
    ("given", "separator", "message"),
    [
        (b"a.mp4\0b.mp4\0", b"\n", "-0 reads what find -print0 writes"),
        (b"\x1aE\xdf\xa3" * 2000, b"\0", "longer than 4096"),
    ],
)
def test_what_is_no_list(tmp_path: Path, given: bytes, separator: bytes, message: str) -> None:
    (tmp_path / "list").write_bytes(given)
    with (
        (tmp_path / "list").open("rb") as stdin,
        pytest.raises(UsageError, match=f"not a list of paths.*{message}"),
    ):
        list(lines(stdin.fileno(), separator))


def test_lists_keep_every_name_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b" a .mp4\n\n\xff\xfe.mkv\n-\nlast")
    with (tmp_path / "list").open("rb") as stdin:
        assert list(lines(stdin.fileno(), b"\n")) == [
            " a .mp4",
            "\udcff\udcfe.mkv",
            "-",
            "last",
        ]


def test_misused_lists() -> None:
    with pytest.raises(UsageError, match="add - for it"):
        Sources(["x"], null=True)
    with pytest.raises(UsageError, match="given twice"):
        Sources(["-", "-"])


def test_nothing_to_ingest_is_nothing_found(streamkv: Streamkv, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    result = streamkv("ingest", tmp_path / "none", "-m", tiny)
    assert result.returncode == 1
    assert f"no video in {tmp_path / 'none'}" in result.stderr


@pytest.mark.slow
def test_a_run_killed_twice_is_completed_by_the_third(
    streamkv: Streamkv, tiny: Path, archive: Path, tmp_path: Path, store: Path
) -> None:
    whole = tmp_path / "whole"
    words = ["ingest", str(archive), "-m", str(tiny), "--fps", "10", "--max-frames", "4"]
    words += ["--threshold", "1", "--min-frames", "2"]
    assert streamkv(*words, "-q", "-s", whole).returncode == 0
    for files, sign in ((3, signal.SIGKILL), (12, signal.SIGINT)):
        run = subprocess.Popen(
            [sys.executable, "-m", "streamkv_cli", *words, "--json"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while run.poll() is None and len(list(store.glob("videos/*/*.safetensors"))) < files:
            time.sleep(0.01)
        run.send_signal(sign)
        _, err = run.communicate(timeout=60)
        assert run.returncode in (-signal.SIGKILL, 130, 0), err
        assert "Traceback" not in err
    assert streamkv(*words, "-q").returncode == 0
    assert digest(store) == digest(whole)
