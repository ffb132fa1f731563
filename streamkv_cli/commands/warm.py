"""The desk of a server: store, model and block keys stay from question to question."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from store import Store, StoreError
from streamkv_cli.errors import ModelError
from streamkv_cli.model.checkpoint import Checkpoint, find_checkpoint
from streamkv_cli.model.device import Placement
from streamkv_cli.pipeline.catalog import EXACT_FRAMES, Shelf
from streamkv_cli.server.turns import Gone, Turns
from streamkv_cli.server.visit import DeclinedError, Visit

if TYPE_CHECKING:
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.video_llm import VideoLLM
    from streamkv_cli.pipeline.answer import Asker, Prefixes, Sampling

T = TypeVar("T")

_MOST_SHELVES = 4
"""One for each --exact-frames that is asked for."""


class Warm:
    """What a server keeps. All but its start happens in the thread of `turns`.

    Args:
        path: of the store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turns = Turns()
        self.model: VideoLLM | None = None
        self.placement: Placement | None = None
        self.prefixes: Prefixes = {}
        self._loaded: tuple[Path, str] | None = None
        self._store: Store | None = None
        self._shelves: dict[int, Shelf] = {}
        self._checkpoints: dict[tuple[str, str | None], tuple[Checkpoint, object]] = {}

    @property
    def store(self) -> Store:
        """The store as it was when this turn began."""
        assert self._store is not None
        return self._store

    def turn(self, work: Callable[[], T], gone: Gone) -> T:
        """Do a piece of work, once it is its turn, with the store that lies there now."""

        def fresh() -> T:
            gone.check()
            if self._store is not None and not self._store.current:
                self._close()
            if self._store is None:
                self._store = Store.open(self.path)
            try:
                return work()
            except StoreError:
                self._shelves.clear()  # it may be the memory that is wrong, not the disk
                raise

        return self.turns.take(fresh, gone)

    def find(self, source: str, revision: str | None) -> Checkpoint:
        """A checkpoint; found before, and unchanged since, it is the same one: hashed once.

        Raises:
            ModelError: it is not there, as the server starts.
            DeclinedError: it is not there, later: nobody shall wait for another one's download.
        """
        key = source, revision
        if key in self._checkpoints:
            found, seen = self._checkpoints[key]
            if _looks(found.folder) == seen:
                return found
        starts = self.placement is None
        try:
            found = find_checkpoint(source, revision, download=starts)
        except ModelError as error:
            if starts:
                raise
            raise DeclinedError(error.what) from None
        self._checkpoints[key] = found, _looks(found.folder)
        return found

    def load(self, checkpoint: Checkpoint, placement: Placement) -> "VideoLLM":
        """The model: loaded when it is first asked for, and when its weights have changed.

        Raises:
            DeclinedError: it is another model, or shall run elsewhere.
        """
        if self.placement is not None and _where(self.placement) != _where(placement):
            raise DeclinedError(f"the server runs on {_words(self.placement)}")
        wanted = checkpoint.folder, checkpoint.weights_fingerprint
        if self._loaded is not None and self._loaded[0] != wanted[0]:
            raise DeclinedError(f"the server has the model {self._loaded[0]}")
        if self.model is None or self._loaded != wanted:
            from streamkv_cli.model.loading import load_model

            self.model = None  # give its memory back first
            self.prefixes.clear()
            self.model = load_model(checkpoint, placement)
            self.placement, self._loaded = placement, wanted
        return self.model

    def shelf(self, exact_frames: int) -> Shelf:
        """What may be drawn from the store."""
        if exact_frames not in self._shelves:
            if len(self._shelves) >= _MOST_SHELVES:
                self._shelves.clear()
            self._shelves[exact_frames] = Shelf(self.store, exact_frames, EXACT_FRAMES)
        return self._shelves[exact_frames]

    def close(self, patience: float) -> bool:
        """Close the store and end the thread; False where its work does not end in time."""
        return self.turns.close(self._close, patience)

    def _close(self) -> None:
        self._shelves.clear()
        store, self._store = self._store, None
        if store is not None:
            store.close()


class VisitDesk:
    """A request's view of what the server keeps.

    Args:
        warm: what is kept.
        visit: the request.
    """

    def __init__(self, warm: Warm, visit: Visit) -> None:
        self._warm = warm
        self._visit = visit

    @property
    def store(self) -> Store:
        """As `Warm.store`."""
        return self._warm.store

    def turn(self, work: Callable[[], T]) -> T:
        """As `Warm.turn`; GoneError once the client has gone."""
        self._visit.wait_for_reader()
        done = self._warm.turn(work, self._visit.gone)
        self._visit.accept()  # whether it can be done here showed in the first turn
        return done

    def find(self, source: str, revision: str | None) -> Checkpoint:
        """As `Warm.find`."""
        return self._warm.find(source, revision)

    def load(self, checkpoint: Checkpoint, placement: Placement) -> "VideoLLM":
        """As `Warm.load`."""
        return self._warm.load(checkpoint, placement)

    def shelf(self, exact_frames: int | None) -> Shelf:
        """As `Warm.shelf`."""
        return self._warm.shelf(EXACT_FRAMES if exact_frames is None else exact_frames)

    def asker(self, model: "VideoLLM", method: "Method", sampling: "Sampling") -> "Asker":
        """One that stops when the client goes."""
        from streamkv_cli.pipeline.answer import Asker

        return Asker(model, method, sampling, self._warm.prefixes, self._visit.gone.check)


def _looks(folder: Path) -> object:
    """What tells that a file of a folder has changed."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            seen = entry.stat()
            times = seen.st_mtime_ns, seen.st_ctime_ns
            found.append((entry.name, seen.st_ino, seen.st_size, *times))
    return sorted(found)


def _where(placement: Placement) -> tuple[Any, ...]:
    device = placement.device
    index = device.index or 0 if device.type == "cuda" else None
    return device.type, index, placement.dtype, placement.spread, placement.weights


def _words(placement: Placement) -> str:
    return f"{placement.device} in {placement.dtype_name}"
