"""From what the user names to what libav opens."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from urllib.parse import unquote

from streamkv_cli.errors import VideoError

STDIN = {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "pipe:0"}
"""What standard input is called; - is not among them, since it is a list of paths elsewhere."""


@dataclass(frozen=True)
class Place:
    """Where a video is.

    Attributes:
        address: what libav opens: an absolute path, a URL, or "pipe:0".
        name: what messages call it.
        live: it cannot be sought in: a URL, standard input, a named pipe, a device.
    """

    address: str
    name: str
    live: bool


def locate(source: str) -> Place:
    """Find the source, and see at once whether it can be opened at all.

    Raises:
        VideoError: a path that is missing, empty, a directory, or must not be read.
    """
    if source in STDIN:
        return Place("pipe:0", "standard input", live=True)
    if source.startswith("file://"):
        source = unquote(source[len("file://") :])
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        return Place(source, re.sub(r"//[^/@]*@", "//", source), live=True)
    try:
        found = os.stat(source)
        if stat.S_ISDIR(found.st_mode):
            raise VideoError(f"{source} is a directory, not a video", "name a file in it")
        if not stat.S_ISREG(found.st_mode):
            return Place(os.path.abspath(source), source, live=True)
        with open(source, "rb"):
            pass
    except FileNotFoundError as error:
        raise VideoError(f"{source} does not exist", "check the path") from error
    except PermissionError as error:
        raise VideoError(f"{source} may not be read", "check its permissions") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{source} cannot be read: {reason}", "check the path") from error
    if found.st_size == 0:
        raise VideoError(f"{source} is empty", "copy or download it again")
    return Place(os.path.abspath(source), source, live=False)
