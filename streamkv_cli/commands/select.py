"""Find the videos a user means: by name, glob or id, by tag, and by date.

The one place for it: every command that takes videos has the same options (`options.py`) and
hands them to `select_videos`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from streamkv_cli.errors import NothingFoundError, UsageError

if TYPE_CHECKING:
    from store import Store, VideoRecord, VideoState

_SHORTEST_ID = 4
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def select_videos(
    store: "Store",
    names: Sequence[str] | None = (),
    *,
    tags: Sequence[str] | None = (),
    since: str | None = None,
    until: str | None = None,
) -> list[tuple["VideoRecord", "VideoState"]]:
    """The videos of a store that match everything asked for, in order of names.

    Args:
        names: names, paths, globs over names, or (the beginnings of) ids; one of them must match.
        tags: "key=value" (the value may be a glob) or "key"; of several for one key one must
            match, different keys must all match.
        since, until: the first and the last date; see `moment`.

    Raises:
        NothingFoundError: the store is empty, a name is of no video, or nothing matches.
        UsageError: a tag or a date that is none.
    """
    earliest = moment(since, "--since") if since is not None else None
    latest = moment(until, "--until", last=True) if until is not None else None
    wanted_tags = _tag_globs(tags or ())
    videos = sorted(store.videos(), key=lambda video: (video[0].name, video[0].video_id))
    if not videos:
        raise NothingFoundError(
            f"the store {store.path} holds no video yet",
            "ingest one first: streamkv ingest video.mp4 --model MODEL",
        )
    if names:
        videos = _named(store, videos, names)
    found = [
        video
        for video in videos
        if _has_tags(video[0].tags, wanted_tags) and _dated(video[0], earliest, latest)
    ]
    if not found:
        asked = [f"--tag {tag}" for tag in tags or ()]
        asked += [f"--since {since}"] if since else []
        asked += [f"--until {until}"] if until else []
        raise NothingFoundError(
            f"no video in the store {store.path} matches {' '.join(asked)}",
            "streamkv ls --json shows tags and dates",
        )
    return found


def moment(text: str, option: str, *, last: bool = False, now: datetime | None = None) -> datetime:
    """A date as people write it: 2026-05-01, 2026-05-01T18:30, or so long ago: 30m, 12h, 7d, 2w.

    Args:
        option: what messages call it.
        last: a day without a time means its end.
        now: what "ago" counts from.

    Raises:
        UsageError: it is no date.
    """
    now = now or datetime.now(UTC)
    text = str(text).strip()
    try:
        if ago := re.fullmatch(r"(\d+)([mhdw])", text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
        if last and re.fullmatch(r"[\d-]+(W\d+(-?\d)?)?", text):
            found = datetime.combine(found, time.max)
        # Without a time zone it is this machine's, as on every other clock the user sees.
        return found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option} {text} is no date", "write 2026-05-01, 2026-05-01T18:30, 12h, 7d or 2w"
        ) from None


def parse_tags(words: Sequence[str] | None) -> dict[str, str]:
    """Tags as a dictionary; the last one of a key holds.

    Raises:
        UsageError: one is not key=value.
    """
    tags = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not key.strip() or not equals:
            raise UsageError(f"the tag {word} is not KEY=VALUE", "write e.g. camera=lobby")
        tags[key.strip()] = value.strip()
    return tags


def tags_text(tags: Mapping[str, str]) -> str:
    """Tags as they are written on the command line."""
    return " ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def _named(
    store: "Store", videos: Sequence[tuple["VideoRecord", "VideoState"]], names: Sequence[str]
) -> list[tuple["VideoRecord", "VideoState"]]:
    found: dict[str, tuple[VideoRecord, VideoState]] = {}
    for wish in names:
        matches = [video for video in videos if _matches(video[0], wish)]
        if not matches:
            raise NothingFoundError(
                f"no video {wish} in the store {store.path}", "streamkv ls shows what there is"
            )
        found |= {record.video_id: (record, state) for record, state in matches}
    return list(found.values())


def _matches(record: "VideoRecord", wish: str) -> bool:
    return (
        wish in (record.name, record.source, record.video_id)
        or (len(wish) >= _SHORTEST_ID and record.video_id.startswith(wish))
        or fnmatchcase(record.name, wish)
    )


def _tag_globs(words: Sequence[str]) -> dict[str, list[str]]:
    globs: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key.strip():
            raise UsageError(f"--tag {word} has no key", "write KEY=VALUE or KEY")
        globs.setdefault(key.strip(), []).append(value.strip() if equals else "*")
    return globs


def _has_tags(tags: Mapping[str, str], wanted: Mapping[str, Sequence[str]]) -> bool:
    return all(
        key in tags and any(fnmatchcase(tags[key], glob) for glob in globs)
        for key, globs in wanted.items()
    )


def _dated(record: "VideoRecord", earliest: datetime | None, latest: datetime | None) -> bool:
    if earliest is None and latest is None:
        return True
    made = datetime.fromisoformat(record.created).astimezone(UTC)
    return (earliest is None or made >= earliest) and (latest is None or made <= latest)
