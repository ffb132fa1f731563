"""Look ahead in a list of videos: the next ones' decoders work while the model has this one."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from streamkv_cli.errors import NothingFoundError, VideoError
from streamkv_cli.pipeline.session import IngestSession, Upcoming

if TYPE_CHECKING:
    from store import Store

Choose = Callable[["Store | None", str], IngestSession]
"""The session that a video is for; the store is None where there is none yet."""

_FARTHEST = 32
"""Videos looked up ahead, at most, in search of one that is not done yet."""


def look_up(choose: "Choose", store: "Store | None", source: str) -> Upcoming:
    """A video with the session it is for; what keeps it from having one is its error."""
    try:
        return choose(store, source).look_up(store, source)
    except (VideoError, NothingFoundError) as error:
        return Upcoming(source, error=error)


class Ahead:
    """The videos of a list, looked up, in order; a context manager.

    Each decoder runs ahead by its ring of pictures only, so memory stays bounded, and what it
    delivers does not depend on when it began.

    Args:
        choose: the session that a video is for.
        store: what is done already.
        take: gives the next of the list; None after the last one, or, asked not to wait, where
            the next one is not known yet.
        jobs: decoders at once, the current video's among them.
    """

    def __init__(
        self,
        choose: Choose,
        store: "Store",
        take: Callable[[bool], "str | Upcoming | None"],
        jobs: int,
    ) -> None:
        self._choose = choose
        self._store = store
        self._take = take
        self._jobs = jobs
        self._queue: deque[Upcoming] = deque()
        self._current: Upcoming | None = None

    def __enter__(self) -> "Ahead":
        """The object itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all decoders."""
        for video in (*self._queue, *([self._current] if self._current else [])):
            video.close()

    def __iter__(self) -> Iterator[Upcoming]:
        """Each video when its turn has come; its decoder ends with the turn."""
        while True:
            if not self._queue and not self._look_at_next(wait=True):
                return
            self._current = self._queue.popleft()
            self._begin(self._current)
            while (
                self._working() < self._jobs - 1
                and len(self._queue) < _FARTHEST
                and self._look_at_next(wait=False)
            ):
                self._begin(self._queue[-1])
            yield self._current
            self._current.close()

    def _look_at_next(self, *, wait: bool) -> bool:
        source = self._take(wait)
        if source is None:
            return False
        if isinstance(source, str):
            source = look_up(self._choose, self._store, source)
        self._queue.append(source)
        return True

    def _working(self) -> int:
        return sum(video.reader is not None for video in self._queue)

    def _begin(self, video: Upcoming) -> None:
        if video.reader is not None:
            return  # when it was the next one; begun again, it would throw away what it has
        if self._jobs == 1 or video.error or video.place is None or video.session is None:
            return
        if video.place.live or (video.stored is not None and video.stored[1].complete):
            return
        if any(video.identity == other.identity for other in self._others(video)):
            return  # the same bytes under two names
        try:
            video.session.begin(self._store, video)
        except VideoError as error:
            video.error = error

    def _others(self, video: Upcoming) -> list[Upcoming]:
        known = [*self._queue, *([self._current] if self._current else [])]
        return [other for other in known if other is not video]
