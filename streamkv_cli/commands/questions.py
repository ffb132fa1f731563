"""Questions from standard input: one a line, as words or as JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from streamkv_cli.errors import UsageError

_FIELDS = {"question", "id", "video", "at", "from", "to"}


@dataclass(frozen=True)
class Question:
    """A question with what it is asked of.

    Attributes:
        text: the question.
        id: given back with the answer; None without one.
        videos: names, globs or ids; None leaves the command's choice.
        at, start, end: times; None leaves the command's.
    """

    text: str
    id: Any = None
    videos: list[str] | None = None
    at: object = None
    start: object = None
    end: object = None


def read_questions(stream: BinaryIO, nul: bool = False) -> Iterator[bytes]:
    """Questions as they come, without waiting for the next one; empty ones are passed over.

    Args:
        nul: they end with a NUL byte instead of a newline.
    """
    for raw in _ended(stream, b"\0") if nul else iter(stream.readline, b""):
        if raw.strip():
            yield raw.strip()


def parse_question(raw: bytes) -> Question:
    """A question from a line: an object with a `question`, or plain words.

    Raises:
        UsageError: the line begins as JSON and is none, a field is unknown or of a wrong kind.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("a question is not valid text", "write it in UTF-8") from None
    if not text.startswith("{"):
        return Question(text)
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise UsageError(f"a question begins as JSON and is none ({error})") from None
    if not isinstance(fields.get("question"), str):
        raise UsageError('a JSON question has no text in "question"')
    if unknown := sorted(fields.keys() - _FIELDS):
        raise UsageError(
            f"a JSON question has a field {unknown[0]!r}", f"known: {', '.join(sorted(_FIELDS))}"
        )
    videos = fields.get("video")
    videos = [videos] if isinstance(videos, str) else videos
    if videos is not None and not (
        isinstance(videos, list) and videos and all(isinstance(name, str) for name in videos)
    ):
        raise UsageError('"video" of a JSON question is neither a name nor a list of names')
    return Question(
        text=fields["question"],
        id=fields.get("id"),
        videos=videos,
        at=fields.get("at"),
        start=fields.get("from"),
        end=fields.get("to"),
    )


def _ended(stream: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Pieces of a stream up to each `end`, each as soon as it is there."""
    held = b""
    read = getattr(stream, "read1", stream.read)
    while piece := read(65536):
        *whole, held = (held + piece).split(end)
        yield from whole
    yield held
