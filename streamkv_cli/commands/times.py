"""Times as people write them: seconds, mm:ss or hh:mm:ss; and how long: 30s, 5m, 2h."""

import math
import re

from streamkv_cli.errors import UsageError

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{2}(?:\.\d+)?)")


def seconds(text: object, option: str) -> float:
    """A moment of a video in seconds.

    Args:
        text: 750, 750.5, 12:30 or 00:12:30.
        option: what messages call it.

    Raises:
        UsageError: it is no such time.
    """
    written = str(text).strip()
    if clock := _CLOCK.fullmatch(written):
        hours, minutes, rest = clock.groups()
        if float(rest) < 60 and (hours is None or int(minutes) < 60):
            return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)
    try:
        found = float(written)
    except ValueError:
        found = math.nan
    if math.isfinite(found) and found >= 0 and "_" not in written:
        return found
    raise UsageError(f"{option} {written} is no time", "write seconds, mm:ss or hh:mm:ss")


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration(text: str, option: str) -> float:
    """So many seconds; -1 for ever.

    Args:
        text: 300, 300s, 5m, 2h or -1.
        option: what messages call it.

    Raises:
        UsageError: it is no such time.
    """
    written = str(text).strip()
    if written == "-1":
        return -1.0
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", written):
        return float(found[1]) * _UNITS[found[2]]
    raise UsageError(f"{option} {written} is no time", "write 30s, 5m, 2h, 0 or -1")
