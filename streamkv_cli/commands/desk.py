"""Where questions are worked on: which store is open, which model is loaded, whose turn it is."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from store import Store
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.checkpoint import Checkpoint
    from streamkv_cli.model.device import Placement
    from streamkv_cli.model.video_llm import VideoLLM
    from streamkv_cli.pipeline.answer import Asker, Sampling
    from streamkv_cli.pipeline.catalog import Shelf

T = TypeVar("T")


class Models(Protocol):
    """Where models come from."""

    def find(self, source: str, revision: str | None) -> "Checkpoint":
        """The checkpoint of that name; as `find_checkpoint`."""
        ...

    def load(self, checkpoint: "Checkpoint", placement: "Placement") -> "VideoLLM":
        """The checkpoint as a loaded model."""
        ...


class Desk(Models, Protocol):
    """What a question needs besides itself; a server has another one than a single command."""

    @property
    def store(self) -> "Store":
        """The store, open for reading; asked for within a turn, and kept no longer."""
        ...

    def turn(self, work: Callable[[], T]) -> T:
        """Do a piece of work with the store and the model, when it is this request's turn."""
        ...

    def shelf(self, exact_frames: int | None) -> "Shelf":
        """What may be drawn from the store."""
        ...

    def asker(self, model: "VideoLLM", method: "Method", sampling: "Sampling") -> "Asker":
        """Who asks the model."""
        ...


class OwnDesk:
    """The desk of a single command: its own store and model, and nobody to wait for.

    Args:
        store: open for reading.
    """

    def __init__(self, store: "Store") -> None:
        self.store = store
        self._shelf: Shelf | None = None
        self._found: dict[tuple[str, str | None], Checkpoint] = {}
        self._loaded: tuple[object, VideoLLM] | None = None

    def put(self, store: "Store") -> None:
        """Have another store in place of this one, and keep the model."""
        self.store, self._shelf = store, None

    def turn(self, work: Callable[[], T]) -> T:
        """Now."""
        return work()

    def find(self, source: str, revision: str | None) -> "Checkpoint":
        """Look for it, once; a hub model is downloaded if need be."""
        from streamkv_cli.model.checkpoint import find_checkpoint

        if (source, revision) not in self._found:
            self._found[source, revision] = find_checkpoint(source, revision)
        return self._found[source, revision]

    def load(self, checkpoint: "Checkpoint", placement: "Placement") -> "VideoLLM":
        """Load it, once."""
        from streamkv_cli.model.loading import load_model

        wanted = checkpoint.folder, placement
        if self._loaded is None or self._loaded[0] != wanted:
            self._loaded = None  # give its memory back first
            self._loaded = wanted, load_model(checkpoint, placement)
        return self._loaded[1]

    def shelf(self, exact_frames: int | None) -> "Shelf":
        """Always the same one."""
        from streamkv_cli.pipeline.catalog import EXACT_FRAMES, Shelf

        if self._shelf is None:
            frames = EXACT_FRAMES if exact_frames is None else exact_frames
            self._shelf = Shelf(self.store, frames)
        return self._shelf

    def asker(self, model: "VideoLLM", method: "Method", sampling: "Sampling") -> "Asker":
        """A new one."""
        from streamkv_cli.pipeline.answer import Asker

        return Asker(model, method, sampling)
