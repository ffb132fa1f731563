"""Do what was asked for, wherever it was asked: the bodies of `ask` and `search`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from streamkv_cli.commands.asking import Session
from streamkv_cli.commands.bounding import bounds_of
from streamkv_cli.commands.desk import Desk
from streamkv_cli.commands.questions import Question, parse_question, read_questions
from streamkv_cli.commands.reader import Reader
from streamkv_cli.commands.requests import AskRequest, Request, SearchRequest
from streamkv_cli.commands.select import select_videos
from streamkv_cli.console import Console, span_text
from streamkv_cli.errors import NothingFoundError, UsageError

if TYPE_CHECKING:
    from store import VideoRecord, VideoState
    from streamkv_cli.method.presets import Method
    from streamkv_cli.pipeline.search import Hit

    Video = tuple[VideoRecord, VideoState]


def run_ask(request: AskRequest, console: Console, desk: Desk, stdin: BinaryIO) -> None:
    """Answer the request's question, or those on standard input.

    Args:
        stdin: where questions come from if the question is "-".
    """

    def begin() -> Session:
        reader = _reader(request, console, desk)
        method = _method(reader.first, request.preset, request.blocks, request.local)
        from streamkv_cli.pipeline.answer import Sampling
        from streamkv_cli.pipeline.talk import Stretch, Turn

        sampling = Sampling(
            request.max_new_tokens,
            request.temperature,
            request.top_p,
            request.top_k,
            request.seed,
        )
        return Session(
            console,
            desk.asker(reader.load(), method, sampling),
            lambda: desk.shelf(request.exact_frames),
            lambda question: reader.readable(
                _choose(request, desk, question.videos or request.video)
            ),
            each=request.each,
            turn=desk.turn,
            talk=[
                Turn(question, answer, tuple(Stretch(*piece) for piece in evidence))
                for question, answer, evidence in request.turns()
            ],
        )

    session = desk.turn(begin)
    asked = Question(request.question, at=request.at, start=request.from_, end=request.to)
    if request.question == "-":
        for raw in read_questions(stdin, request.null):
            session.attempt(lambda raw=raw: _with_defaults(parse_question(raw), asked))  # type: ignore[misc]
        session.finish()
    elif request.each:
        session.attempt(lambda: asked)
        session.finish()
    else:
        session.ask(asked)


def run_search(request: SearchRequest, console: Console, desk: Desk) -> None:
    """Tell the stretches that the request's words fit best.

    Raises:
        NothingFoundError: nothing reaches the least score.
    """
    hits = desk.turn(lambda: _hits(request, console, desk))
    if not hits:
        raise NothingFoundError(
            f"nothing scores {request.min_score:g} or more",
            "a lower --min-score shows the best there is",
        )
    rows = []
    for hit in hits:
        console.record(
            "hit",
            video=hit.video,
            id=hit.video_id,
            start=hit.start,
            end=hit.end,
            score=round(hit.score, 4),
            segment=hit.segment,
        )
        rows.append((hit.video, *span_text(hit.start, hit.end).split("-"), f"{hit.score:.2f}"))
    console.table(("video", "start", "end", "score"), rows, right="start end score")


def _hits(request: SearchRequest, console: Console, desk: Desk) -> "list[Hit]":
    reader = _reader(request, console, desk)
    from streamkv_cli.method.presets import preset
    from streamkv_cli.pipeline import search as searching
    from streamkv_cli.pipeline.answer import Sampling

    catalog = desk.shelf(request.exact_frames).catalog(
        reader.readable(_choose(request, desk, request.video)),
        bounds_of(request.at, request.from_, request.to),
    )
    method = preset(str(reader.first.notes.get("preset", "default")))
    asker = desk.asker(reader.load(), method, Sampling())
    return searching.search(catalog, asker, request.words, request.limit, request.min_score)


def _reader(request: Request, console: Console, desk: Desk) -> Reader:
    if desk.store.unlocked:
        console.detail(desk.store.unlocked)
    chosen = _choose(request, desk, request.video)
    return Reader(console, chosen, request.model, request.revision, request.device, desk)


def _choose(request: Request, desk: Desk, names: Sequence[str] | None) -> "list[Video]":
    return select_videos(
        desk.store, names, tags=request.tag, since=request.since, until=request.until
    )


def _with_defaults(question: Question, asked: Question) -> Question:
    """A question from stdin; what it leaves open is as on the command line."""
    return replace(
        question,
        at=asked.at if question.at is None else question.at,
        start=asked.start if question.start is None else question.start,
        end=asked.end if question.end is None else question.end,
    )


def _method(
    record: "VideoRecord", preset: str | None, blocks: int | None, local: int | None
) -> "Method":
    from streamkv_cli.method import presets

    name = preset or str(record.notes.get("preset", "default"))
    method = presets.preset(name, blocks=blocks, local=local)
    if method.local > method.blocks:
        if local is not None:
            raise UsageError(f"--local {local} is more than --blocks {method.blocks}")
        # The preset's recent blocks must not push out everything a smaller budget looks for.
        method = presets.preset(name, blocks=blocks, local=method.blocks // 8)
    return method
