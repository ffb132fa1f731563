"""The page of answers: each with the frames of the stretches of video that it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamkv_cli.pages.pictures import Found, Picture, Pictures, spread, thumbnails
from streamkv_cli.pages.render import render
from streamkv_cli.wording import bytes_text, span_text

MOST_STRETCHES = 6
"""Stretches shown of an answer's evidence, the best ones."""

MOST_FRAMES = 4
"""Pictures of a stretch."""

MOST_PICTURES = 600
"""Pictures of a page, shared out among its answers; each keeps at least one."""


@dataclass(frozen=True)
class Stretch:
    """A stretch of video that layers chose: what `ask --json` calls evidence."""

    video: str
    video_id: str
    start: float
    end: float
    layers: int
    score: float


@dataclass(frozen=True)
class Answered:
    """A question with its answer, or with why there is none.

    Attributes:
        about: name of the video that was asked by itself, "" where all were asked together.
        answer: "" where it failed.
        evidence: best first.
        layers: of the model.
        facts: what it took, in words.
        error: why it failed, "" if it did not.
    """

    question: str
    about: str
    answer: str = ""
    evidence: Sequence[Stretch] = ()
    layers: int = 0
    facts: Sequence[str] = ()
    error: str = ""


@dataclass(frozen=True)
class Shown:
    """A stretch in the page: its words, and pictures of it.

    Attributes:
        span: its seconds in words.
        near: whether the pictures lie beside the stretch, none of its own having been kept.
        share: of all layers that chose it, 0 to 1.
    """

    stretch: Stretch
    span: str
    share: float
    near: bool = False
    pictures: list[Picture] = field(default_factory=list)


def answered(record: Mapping[str, Any]) -> Answered:
    """An answer, or a failure, out of what `ask --json` prints of it."""
    about = str(record.get("video", ""))
    if "answer" not in record:
        return Answered(record["question"], about, error=str(record["error"]))
    evidence = [
        Stretch(
            piece["video"],
            piece["id"],
            piece["start"],
            piece["end"],
            piece["layers"],
            piece["score"],
        )
        for piece in record["evidence"]
    ]
    facts = [
        f"{record['blocks_fetched']:,} of {record['blocks_stored']:,} blocks read",
        f"{bytes_text(record['bytes_fetched'])} of {bytes_text(record['bytes_stored'])}",
        f"answered in {record['seconds']:.1f} s",
    ]
    return Answered(record["question"], about, record["answer"], evidence, record["layers"], facts)


def answers_page(answers: Sequence[Answered], pictures: Pictures) -> str:
    """HTML of the page.

    Args:
        answers: in the order in which they were asked.
        pictures: of the store; what of them could not be read is noted there.
    """
    share = max(1, MOST_PICTURES // max(len(answers), 1))
    questions = {answer.question for answer in answers}
    return render(
        "answers.html",
        title=answers[0].question if len(questions) == 1 else f"{len(answers)} answers",
        answers=[(answer, _shown(answer, pictures, share)) for answer in answers],
        one_question=len(questions) == 1,
        scarce=share < MOST_STRETCHES * MOST_FRAMES,
        shape=pictures.shape,
    )


def _shown(answer: Answered, pictures: Pictures, most: int) -> list[Shown]:
    """The best stretches, with no more than so many pictures among them."""
    found = []
    for stretch in answer.evidence[:MOST_STRETCHES]:
        frames, near = _frames(stretch, pictures)
        read = [
            picture
            for frame in spread(frames, min(MOST_FRAMES, most))
            if (picture := pictures.read(stretch.video_id, frame))
        ]
        most -= len(read)
        span, share = span_text(stretch.start, stretch.end), stretch.layers / max(answer.layers, 1)
        found.append(Shown(stretch, span, share, near, read))
    return found


def _frames(stretch: Stretch, pictures: Pictures) -> tuple[list[Found], bool]:
    """Thumbnails of the stretch; where it has none, the one nearest to it in its segments."""
    start, end = stretch.start, stretch.end
    found = [
        frame
        for segment in pictures.segments(stretch.video_id)
        if segment.start < end and segment.end > start
        for frame in thumbnails(segment)
    ]
    # Names of thumbnails are in milliseconds.
    inside = [frame for frame in found if start - 1e-3 <= frame.time < end]
    if inside or not found:
        return inside, False
    return [min(found, key=lambda f: min(abs(f.time - start), abs(f.time - end)))], True
