"""Question after question with one model: asked, told, and survived."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from streamkv_cli.commands.bounding import bounds_of
from streamkv_cli.commands.guard import exit_code
from streamkv_cli.commands.questions import Question
from streamkv_cli.console import Console, bytes_text, escaped, span_text, time_text
from streamkv_cli.errors import EXIT_INPUT_FAILED, StreamKVError, UsageError

if TYPE_CHECKING:
    from store import VideoRecord, VideoState
    from streamkv_cli.pipeline.answer import Answer, Asker
    from streamkv_cli.pipeline.catalog import Catalog, Shelf
    from streamkv_cli.pipeline.talk import Turn

    Video = tuple[VideoRecord, VideoState]

_SHOWN = 5


class Session:
    """Questions with one model; of several, one that fails does not stop the others.

    Args:
        console: where answers and complaints go.
        asker: the loaded model.
        shelf: gives, within a turn, what may be drawn from.
        videos: the videos a question is about.
        each: every video by itself.
        turn: does a piece of work when it is this session's turn.
        talk: what was said before, in a chat.
    """

    def __init__(
        self,
        console: Console,
        asker: "Asker",
        shelf: "Callable[[], Shelf]",
        videos: "Callable[[Question], list[Video]]",
        *,
        each: bool,
        turn: "Callable[[Callable[[], Any]], Any]",
        talk: "Sequence[Turn]" = (),
    ) -> None:
        self._console = console
        self._asker = asker
        self._shelf = shelf
        self._videos = videos
        self._each = each
        self._turn = turn
        self._talk = talk
        self._warned = False
        self._asked = self._failed = 0

    def attempt(self, parse: Callable[[], Question]) -> None:
        """Ask one of several questions."""
        question: Question | None = None
        try:
            question = parse()
            for videos in self._runs(question):
                self._attempt(question, videos)
        except Exception as error:
            self._asked += 1
            self._complain(question, error)

    def finish(self) -> None:
        """Say how many failed, with the exit code for it."""
        if not self._asked:
            raise UsageError("no question on standard input", "write one a line")
        if self._failed:
            what = "videos" if self._each else "questions"
            self._console.error(f"{self._failed} of {self._asked} {what} failed")
            raise typer.Exit(EXIT_INPUT_FAILED)

    def ask(self, question: Question) -> None:
        """Ask the only question; its error is the command's."""
        for videos in self._runs(question):
            self._turn(lambda videos=videos: self._ask(question, videos))  # type: ignore[misc]

    def _runs(self, question: Question) -> "Iterator[list[Video]]":
        videos = self._turn(lambda: self._videos(question))
        if self._each:
            yield from ([video] for video in videos)
        else:
            yield videos

    def _attempt(self, question: Question, videos: "list[Video]") -> None:
        self._asked += 1
        try:
            self._turn(lambda: self._ask(question, videos))
        except Exception as error:
            self._complain(question, error, videos)

    def _ask(self, question: Question, videos: "list[Video]") -> None:
        console = self._console
        bounds = bounds_of(question.at, question.start, question.end)
        shelf = self._shelf()
        catalog = shelf.catalog(videos, bounds)
        if not self._warned:
            _warn_long(console, self._asker, catalog)
            self._warned = True
        streams = not (console.json_lines or self._each)
        answer = self._asker.answer(
            catalog,
            question.text,
            (lambda text: console.text(text, end="")) if streams else (lambda _: None),
            self._talk,
        )
        # A question to a whole archive keeps what it was answered from, not all there is.
        drawn = {found.video_id for found in answer.evidence}
        shelf.note_asked(drawn if len(videos) > 1 else {videos[0][0].video_id})
        extra: dict[str, Any] = {}
        if question.id is not None:
            extra["id"] = question.id
        if self._each:
            extra |= {"video": videos[0][0].name, "video_id": videos[0][0].video_id}
        if bounds.at is not None:
            extra["known_until"] = {
                record.video_id: until
                for record, until in zip(catalog.records, catalog.until, strict=True)
            }
        _record(console, question.text, answer, catalog, extra)
        if console.json_lines:
            return
        if self._each:
            console.text(f"{escaped(videos[0][0].name)}\t{' '.join(answer.text.split())}")
        else:
            console.text("")
        _tell(console, answer, catalog, bounds.at)

    def _complain(
        self, question: Question | None, error: Exception, videos: "Sequence[Video]" = ()
    ) -> None:
        """Tell of a foreseen error and go on; any other is a mistake of ours and ends it all."""
        from store import StoreError

        if not isinstance(error, StreamKVError | StoreError):
            raise error
        self._failed += 1
        extra: dict[str, Any] = {}
        if question is not None:
            extra["question"] = question.text
            if question.id is not None:
                extra["id"] = question.id
        if self._each and videos:
            extra |= {"video": videos[0][0].name, "video_id": videos[0][0].video_id}
        self._console.record("failed", **extra, error=str(error), exit=exit_code(error))
        where = videos[0][0].name if self._each and videos else question and question.text
        self._console.error(f"{where}: {error}" if where else str(error))


def _warn_long(console: Console, asker: "Asker", catalog: "Catalog") -> None:
    model, method = asker.model, asker.method
    stored = method.blocks if catalog.coarse else max(catalog.stored())
    tokens = max(record.geometry.tokens for record in catalog.records)
    fetched = min(method.blocks, stored) * tokens
    answer = asker.sampling.max_new_tokens
    if fetched + answer > model.longest_context:
        console.warning(
            f"{fetched:,} tokens of video and {answer:,} of answer are more than the "
            f"{model.longest_context:,} positions the model was made for; fewer --blocks or "
            f"--max-new-tokens may answer better"
        )


def _record(
    console: Console, question: str, answer: "Answer", catalog: "Catalog", extra: dict[str, Any]
) -> None:
    console.record(
        "answer",
        **extra,
        question=question,
        answer=answer.text,
        evidence=[
            {
                "video": piece.video,
                "id": piece.video_id,
                "start": piece.start,
                "end": piece.end,
                "layers": piece.layers,
                "score": round(piece.score, 6),
            }
            for piece in answer.evidence
        ],
        videos=len(catalog.records),
        coarse=catalog.coarse,
        layers=len(answer.budgets),
        budgets=answer.budgets,
        blocks_stored=answer.blocks_stored,
        blocks_fetched=answer.blocks_fetched,
        bytes_stored=answer.bytes_stored,
        bytes_fetched=answer.bytes_fetched,
        tokens=answer.tokens,
        prompt=answer.prompt,
        seconds_to_first_token=round(answer.seconds_to_first_token, 4),
        seconds=round(answer.seconds, 4),
    )


def _tell(console: Console, answer: "Answer", catalog: "Catalog", at: float | None) -> None:
    for piece in answer.evidence[:_SHOWN]:
        console.message(
            f"  {piece.video} {span_text(piece.start, piece.end)} "
            f"({piece.layers} of {len(answer.budgets)} layers)"
        )
    if at is not None and len(catalog.records) == 1 and (until := catalog.until[0]) is not None:
        console.message(
            f"  as of {time_text(at)}, {catalog.records[0].name} is known up to {time_text(until)}"
        )
    console.detail(
        f"fetched {answer.blocks_fetched} of {answer.blocks_stored} blocks, "
        f"{bytes_text(answer.bytes_fetched)} of {bytes_text(answer.bytes_stored)}; "
        f"blocks by layer: {' '.join(map(str, answer.budgets))}"
    )
    if catalog.coarse:
        console.detail("summary blocks picked the segments; --exact-frames scores every block")
    console.detail(
        f"first token after {answer.seconds_to_first_token:.2f} s, "
        f"{len(answer.tokens)} tokens in {answer.seconds:.2f} s"
    )
