"""The model that reads a memory: which one it is, and which of the chosen videos it can read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streamkv_cli.console import Console, count, time_text
from streamkv_cli.errors import ModelError, NothingFoundError

if TYPE_CHECKING:
    from store import VideoRecord, VideoState
    from streamkv_cli.commands.desk import Models
    from streamkv_cli.model.checkpoint import Checkpoint
    from streamkv_cli.model.device import Placement
    from streamkv_cli.model.video_llm import VideoLLM

    Video = tuple[VideoRecord, VideoState]

_NAMED = 3


class Reader:
    """One model, found before anything heavy is loaded, and loaded when it is first needed.

    Without a model of the user's choice it is the one that all chosen videos were ingested with;
    with one, videos of other models are left out, with one warning. KV of different models is
    never mixed.

    Args:
        console: for warnings.
        chosen: the videos that the command line chose.
        model, revision: the user's choice; None leaves it to the videos.
        device: where to run it.
        models: finds it and loads it.

    Raises:
        NothingFoundError: no chosen video has anything stored yet.
        ModelError: the model is not there.
        StoreRefused: the videos are of several models, or of another one.
    """

    def __init__(
        self,
        console: Console,
        chosen: Sequence["Video"],
        model: str | None,
        revision: str | None,
        device: str,
        models: "Models",
    ) -> None:
        self._console = console
        self._device = device
        self._models = models
        self._selective = model is not None
        videos = begun(chosen)
        _tell_partial(console, videos)
        self.checkpoint = _checkpoint(models, videos[0][0], model, revision)
        self._left_out: set[str] = set()
        self._profiles: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.first = self._first(videos)
        self._loaded: VideoLLM | None = None
        self.readable(videos)

    def readable(self, chosen: Sequence["Video"]) -> list["Video"]:
        """Those of some videos that the model can read together.

        Raises:
            NothingFoundError: none has anything stored yet.
            StoreRefused: they are of several models, or of another one.
        """
        from store import StoreRefused, codec_of
        from streamkv_cli.pipeline.profile import MODEL_FIELDS, first_difference

        videos = begun(chosen)
        fitting = [video for video in videos if not self._selective or self._fits(video[0])]
        if not fitting:
            self._refuse(videos[0][0])
        if len(fitting) < len(videos):
            kept = {record.video_id for record, _ in fitting}
            self._tell_left_out([r for r, _ in videos if r.video_id not in kept])
        # Weights are compared with the model's, by the rule each fingerprint was made with.
        fields = tuple(name for name in MODEL_FIELDS if name != "weights")
        for record, _ in fitting:
            codec_of(record)
            if difference := first_difference(self.first.profile, record.profile, fields):
                raise StoreRefused(
                    f"{self.first.name} and {record.name} were ingested with different models: "
                    f"{difference}",
                    "choose with --video or --tag, or with --model",
                )
            if not self._fits(record):
                self._refuse(record, "; --video asks some of the videos only")
        return fitting

    def load(self) -> "VideoLLM":
        """The model; loaded once."""
        if self._loaded is None:
            placement = self.placement()
            self._console.detail(f"device: {placement.reason} when it was ingested")
            with self._console.waiting(f"loading {self.checkpoint.source}"):
                self._loaded = self._models.load(self.checkpoint, placement)
        return self._loaded

    def placement(self) -> "Placement":
        """Where the model runs, in the type that the videos were ingested in."""
        from dataclasses import replace

        from streamkv_cli.model.device import choose_placement

        stored = self.first.profile
        placement = choose_placement(self._device, stored["dtype"], stored.get("weights_in"))
        return replace(placement, vision=False)  # no frame is looked at

    def _first(self, videos: Sequence["Video"]) -> "VideoRecord":
        """The video that the others have to agree with."""
        for record, _ in videos if self._selective else videos[:1]:
            if self._fits(record):
                return record
        self._refuse(videos[0][0])
        raise AssertionError("a video that does not fit is refused")

    def _difference(self, record: "VideoRecord") -> str | None:
        from streamkv_cli.pipeline.profile import MODEL_FIELDS, first_difference, model_profile

        stored = record.profile
        held = stored.get("weights_in")
        key = (stored.get("weights"), stored["dtype"], stored["init_prompt"], held)
        if key not in self._profiles:
            self._profiles[key] = model_profile(
                self.checkpoint, stored["dtype"], stored["init_prompt"], stored, held
            )
        return first_difference(stored, self._profiles[key], MODEL_FIELDS)

    def _fits(self, record: "VideoRecord") -> bool:
        return self._difference(record) is None

    def _refuse(self, record: "VideoRecord", more: str = "") -> None:
        from store import StoreRefused

        raise StoreRefused(
            f"{record.name} was ingested with another model: {self._difference(record)}",
            f"give the right one with --model, or ingest {record.name} again{more}",
        )

    def _tell_left_out(self, records: Sequence["VideoRecord"]) -> None:
        new = [record for record in records if record.video_id not in self._left_out]
        if new:
            self._left_out |= {record.video_id for record in new}
            self._console.warning(
                f"{_names([r.name for r in new])} left out: ingested with another model"
            )


def begun(chosen: Sequence["Video"]) -> list["Video"]:
    """Videos that have something stored; NothingFoundError where none has."""
    videos = [(record, state) for record, state in chosen if state.segments]
    if not videos:
        raise NothingFoundError(
            f"{chosen[0][0].name} has no segment yet", "wait for its ingest, or run it again"
        )
    return videos


def _tell_partial(console: Console, videos: Sequence["Video"]) -> None:
    gaps = [(record.name, len(state.missing)) for record, state in videos if state.missing]
    partial = [(record.name, state.end) for record, state in videos if not state.ended]
    if len(gaps) > _NAMED:
        console.warning(
            f"{_names([name for name, _ in gaps])} missing segments; see streamkv check"
        )
    else:
        for name, lost in gaps:
            console.warning(
                f"{name} has gaps, {count(lost, 'segment')} of it lost; "
                f"streamkv repair says how to fill them"
            )
    if len(partial) > _NAMED:
        console.warning(f"{_names([name for name, _ in partial])} ingested in part only")
    else:
        for name, end in partial:
            console.warning(f"{name} is ingested up to {time_text(end)} only")


def _names(names: Sequence[str]) -> str:
    if len(names) <= _NAMED:
        return ", ".join(names) + (" is" if len(names) == 1 else " are")
    return f"{len(names)} videos ({', '.join(names[:_NAMED])}, ...) are"


def _checkpoint(
    models: "Models", record: "VideoRecord", model: str | None, revision: str | None
) -> "Checkpoint":
    """The model a video was ingested with, wherever it lies now, or the user's choice."""
    notes = record.notes
    try:
        return models.find(model or notes["model"], revision or notes["revision"] or None)
    except ModelError as error:
        if model:
            raise
        raise ModelError(
            f"the model that {record.name} was ingested with cannot be found: {error.what}",
            "if it has moved, say where with --model",
        ) from None
