"""From the words of a command line to videos: files, folders, globs, URLs, a list on stdin."""

import glob
import os
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamkv_cli.errors import UsageError, VideoError

LIST = "-"
SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)
"""Files a folder is searched for; a file named by itself may be called anything."""

_LONGEST_PATH = 4096


@dataclass(frozen=True)
class Named:
    """A video as named, or why the name leads nowhere."""

    source: str
    error: VideoError | None = None


class Sources:
    """All videos that the words of a command line name, each path once, in order.

    They are found in a thread of their own: a list on standard input may grow for days while the
    videos on it are ingested as they come.

    Args:
        words: paths, folders, globs, URLs, or - for a list of those (globs aside) on stdin.
        null: the list is separated by NUL instead of newlines.

    Attributes:
        found: videos so far.
        closed: all are found.
        empty: folders without a video, so far.
    """

    def __init__(self, words: Sequence[str], *, null: bool = False) -> None:
        if null and LIST not in words:
            raise UsageError("-0 tells how a list on standard input is separated", "add - for it")
        if list(words).count(LIST) > 1:
            raise UsageError("- is given twice, but there is one standard input", "give it once")
        self.found = 0
        self.closed = False
        self.empty: list[str] = []
        self._words = words
        self._null = null
        self._queue: queue.SimpleQueue[Named | Exception | None] = queue.SimpleQueue()
        # A daemon, because nothing can wake it from waiting for a list that does not end.
        threading.Thread(target=self._find, name="streamkv-sources", daemon=True).start()

    @property
    def single(self) -> bool:
        """One video is named and nothing else, so its failure is the command's."""
        return len(self._words) == 1 and not _manifold(self._words[0])

    def take(self, wait: bool = True) -> Named | None:
        """The next video; None after the last, or where none is known yet and `wait` is false.

        Raises:
            UsageError: standard input holds no list of paths.
        """
        try:
            item = self._queue.get(block=wait)
        except queue.Empty:
            return None
        if item is None or isinstance(item, Exception):
            self._queue.put(item)  # for whoever asks again
        if isinstance(item, Exception):
            raise item
        return item

    def _find(self) -> None:
        last: Exception | None = None
        seen: set[str] = set()
        try:
            for word in self._words:
                for named in self._named(word):
                    key = named.source if "://" in named.source else os.path.abspath(named.source)
                    if key not in seen:
                        seen.add(key)
                        self.found += 1
                        self._queue.put(named)
        except Exception as error:
            last = error
        self.closed = True
        self._queue.put(last)

    def _named(self, word: str) -> Iterator[Named]:
        if word == LIST:
            for line in lines(0, b"\0" if self._null else b"\n"):
                yield from self._folder_or_file(line)
        elif _manifold(word) and not os.path.isdir(word):
            matches = sorted(_below(word) if "**" in word else glob.iglob(word))
            if not matches:
                yield Named(word, VideoError(f"{word} matches no file", "check the pattern"))
            for path in matches:
                yield from self._folder_or_file(path)
        else:
            yield from self._folder_or_file(word)

    def _folder_or_file(self, path: str) -> Iterator[Named]:
        if not os.path.isdir(path):
            yield Named(path)
            return
        before = self.found
        yield from _walk(path)
        if self.found == before:
            self.empty.append(path)


def _manifold(word: str) -> bool:
    """Whether a word may name several videos."""
    if word == LIST or os.path.isdir(word):
        return True
    return bool(re.search(r"[*?\[]", word)) and "://" not in word and not os.path.lexists(word)


def _below(pattern: str) -> Iterator[str]:
    """What a pattern with ** matches; links to folders are not followed, as they may lead back."""
    anchor = Path(pattern).anchor
    for path in Path(anchor).glob(pattern[len(anchor) :]):
        if "/." in pattern or not any(part.startswith(".") for part in path.parts):
            yield str(path)


def _walk(top: str) -> Iterator[Named]:
    """Videos below a folder, sorted, hidden ones left aside; a link back up is followed once."""
    troubles: list[Named] = []

    def note(error: OSError) -> None:
        what = f"{error.filename} cannot be read: {error.strerror}"
        troubles.append(Named(str(error.filename), VideoError(what, "check its permissions")))

    visited: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(top, onerror=note, followlinks=True):
        try:
            found = os.stat(folder)
        except OSError:
            folders.clear()
            continue
        new = (found.st_dev, found.st_ino) not in visited
        visited.add((found.st_dev, found.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if new else []
        for name in sorted(files) if new else ():
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Named(os.path.join(folder, name))
        yield from troubles
        troubles.clear()
    yield from troubles


def lines(descriptor: int, separator: bytes) -> Iterator[str]:
    """Paths as they arrive.

    Read past Python's buffered stdin: a daemon thread that waits in it would hold its lock when
    the program ends.
    """
    rest = b""
    while piece := _read(descriptor):
        *lines, rest = (rest + piece).split(separator)
        for line in (*lines, rest):
            _refuse_bytes(line, separator)
        yield from (os.fsdecode(line) for line in lines if line)
    if rest:
        yield os.fsdecode(rest)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError as error:  # closed, or a folder
        raise UsageError(
            f"standard input cannot be read: {error.strerror}", "give it a list of paths"
        ) from None


def _refuse_bytes(line: bytes, separator: bytes) -> None:
    if b"\0" in line:
        raise UsageError(
            "standard input is not a list of paths, one a line",
            "-0 reads what find -print0 writes; a video from a pipe is called /dev/stdin",
        )
    if len(line) > _LONGEST_PATH:
        mark = "a NUL" if separator == b"\0" else "a line"
        raise UsageError(
            f"standard input is not a list of paths: one is longer than {_LONGEST_PATH} bytes",
            f"end each with {mark}; a video from a pipe is called /dev/stdin",
        )
