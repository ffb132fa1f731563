"""Which videos are meant: names, dates, tags; one piece of code for every command."""

import importlib
import inspect
import json
import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from store import Store
from streamkv_cli.app import COMMANDS, app
from streamkv_cli.commands.options import (
    SinceOption,
    TagFilter,
    UntilOption,
    VideoOption,
    VideosArgument,
)
from streamkv_cli.commands.select import moment, parse_tags, select_videos
from streamkv_cli.errors import NothingFoundError, UsageError
from tests.store import samples


def _function(name: str) -> Any:
    return getattr(importlib.import_module(f"streamkv_cli.commands.{name}"), name)


NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
VIDEOS = {
    "a.mp4": ("aaaa000000000000", "2026-05-01T10:00:00+00:00", {"camera": "lobby"}),
    "b.mp4": ("aaab000000000000", "2026-05-02T10:00:00+00:00", {"camera": "door", "x": ""}),
    "c.mkv": ("cccc000000000000", "2026-05-03T10:00:00+00:00", {}),
}


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "kv", create=True) as opened:
        for name, (video_id, created, tags) in VIDEOS.items():
            record = samples.record(
                video_id,
                name=name,
                source=f"/films/{name}",
                fingerprint=video_id,
                created=created,
                tags=tags,
            )
            with opened.writer(record) as writer:
                samples.commit(writer)
        yield opened


def names(found: list) -> list[str]:
    return [record.name for record, _ in found]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ([], ["a.mp4", "b.mp4", "c.mkv"]),
        (["*.mp4"], ["a.mp4", "b.mp4"]),
        (["/films/c.mkv", "a.mp4", "a.*"], ["c.mkv", "a.mp4"]),
        (["aaab"], ["b.mp4"]),
        (["aaa*", "cccc"], None),
        (["aaa"], None),  # too short for an id
    ],
)
def test_names_globs_paths_and_ids(
    shelf: Store, wish: list[str], expected: list[str] | None
) -> None:
    if expected is None:
        with pytest.raises(NothingFoundError, match="no video aaa"):
            select_videos(shelf, wish)
    else:
        assert names(select_videos(shelf, wish)) == expected


def test_dates(shelf: Store) -> None:
    assert names(select_videos(shelf, since="2026-05-02T10:00Z")) == ["b.mp4", "c.mkv"]
    assert names(select_videos(shelf, until="2026-05-02T09:59+00:00")) == ["a.mp4"]
    assert names(select_videos(shelf, ["*.mp4"], since="2026-05-02", until="2026-05-02")) == [
        "b.mp4"
    ]
    with pytest.raises(NothingFoundError, match="matches --since 2027-01-01"):
        select_videos(shelf, since="2027-01-01")


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (["camera=lobby"], ["a.mp4"]),
        (["camera=*o*"], ["a.mp4", "b.mp4"]),
        (["camera=lobby", "camera=door"], ["a.mp4", "b.mp4"]),
        (["camera", "x"], ["b.mp4"]),
        (["camera=lobby", "x"], []),
        (["place"], []),
    ],
)
def test_tags(shelf: Store, wish: list[str], expected: list[str]) -> None:
    if expected:
        assert names(select_videos(shelf, tags=wish)) == expected
    else:
        with pytest.raises(NothingFoundError, match=r"matches --tag .*streamkv ls"):
            select_videos(shelf, tags=wish)
    with pytest.raises(UsageError, match="no key"):
        select_videos(shelf, tags=["=x"])


@pytest.mark.parametrize(
    ("text", "last", "expected"),
    [
        ("2026-05-01T18:30Z", False, "2026-05-01T18:30:00+00:00"),
        ("90m", False, "2026-05-10T10:30:00+00:00"),
        ("12h", True, "2026-05-10T00:00:00+00:00"),
        ("1w", False, "2026-05-03T12:00:00+00:00"),
    ],
)
def test_moments(text: str, last: bool, expected: str) -> None:
    assert moment(text, "--since", last=last, now=NOW).isoformat() == expected


def test_a_day_is_a_whole_day_of_this_machines_clock() -> None:
    first, last = moment("2026-05-01", "--since"), moment("2026-05-01", "--until", last=True)
    assert first == datetime(2026, 5, 1).astimezone()
    assert 86399 < (last - first).total_seconds() < 86400


@pytest.mark.parametrize("text", ["", "yesterday", "7y", "2026-13-01", "99999999999w"])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(UsageError, match=r"--since .*is no date"):
        moment(text, "--since")


def test_tags_are_read_as_key_and_value() -> None:
    assert parse_tags(["camera=lobby", "note=a=b", "camera = door"]) == {
        "camera": "door",
        "note": "a=b",
    }
    for wrong in ("camera", "=lobby"):
        with pytest.raises(UsageError, match="is not KEY=VALUE"):
            parse_tags([wrong])


TAKE_VIDEOS = sorted(
    name
    for name in COMMANDS
    if name not in ("ingest", "bench")  # which take files
    and {"video", "videos"} & inspect.signature(_function(name)).parameters.keys()
)


def test_the_commands_that_take_stored_videos() -> None:
    assert TAKE_VIDEOS == ["ask", "chat", "check", "ls", "rm", "search", "show", "stats", "tag"]


@pytest.mark.parametrize("name", TAKE_VIDEOS)
def test_a_command_that_takes_videos_takes_all_filters(name: str) -> None:
    given = typing.get_type_hints(_function(name), include_extras=True)
    assert given.get("video", given.get("videos")) in (VideosArgument, VideoOption)
    assert (given["tag"], given["since"], given["until"]) == (TagFilter, SinceOption, UntilOption)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--tag", "camera=*o*"], ["a.mp4", "b.mp4"]),
        (["--since", "2026-05-02T00:00Z", "--until", "2026-05-02T23:00Z"], ["b.mp4"]),
        (["--tag", "camera", "--until", "2026-05-02T00:00Z"], ["a.mp4"]),
    ],
)
def test_every_command_chooses_the_same(
    shelf: Store,
    capsys: pytest.CaptureFixture[str],
    filters: list[str],
    expected: list[str],
) -> None:
    shelf.close()
    where = ["--json", "--store", str(shelf.path)]
    ids = [VIDEOS[name][0] for name in expected]
    show = [["show"]] if len(expected) == 1 else []  # which shows one video
    for words in (["ls"], *show, ["stats"], ["check"], ["tag", "seen=yes"], ["rm"]):
        told = _told(capsys, [*words, *filters, *where])
        if words == ["check"]:
            assert told[-1]["segments"] == len(expected)
        else:
            found = [line["id"] for line in told if line["type"] in _ONE_A_VIDEO]
            assert (words, found) == (words, ids)
    with Store.open(shelf.path) as left:
        assert not {record.name for record, _ in left.videos()} & set(expected)


_ONE_A_VIDEO = ("video", "tagged", "removed")


def _told(capsys: pytest.CaptureFixture[str], words: list[str]) -> list[dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        app(words)
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return [json.loads(line) for line in out.splitlines()]
