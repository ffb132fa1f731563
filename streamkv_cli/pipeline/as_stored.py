"""Finish videos with the model and the settings that the store says they were begun with."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from streamkv_cli.errors import ModelError, NothingFoundError
from streamkv_cli.method.presets import PRESETS, Method
from streamkv_cli.model.checkpoint import Checkpoint, find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.pipeline.profile import UNNAMED
from streamkv_cli.pipeline.session import Decoder, IngestSession, Settings, identify
from streamkv_cli.video import locate

if TYPE_CHECKING:
    from store import Store, VideoRecord


@dataclass
class StoredSessions:
    """Gives each video the session that goes on with it, one model at a time in memory.

    Args:
        model, revision: where to look for a model that is no longer where it was.
        device: to compute on; the dtype is the stored one.
        decoder, skip_damaged: as in `Settings`.
        on_load: entered while a model is loaded; told which.
        tags: given to every video.
        thumbnails: keep small pictures of frames; None as the video was begun.
    """

    model: str | None
    revision: str | None
    device: str
    decoder: Decoder
    skip_damaged: bool
    on_load: Callable[[str], AbstractContextManager[object]]
    tags: Mapping[str, str]
    thumbnails: bool | None = None
    _last: tuple[object, IngestSession] | None = None

    def session(self, store: "Store | None", source: str) -> IngestSession:
        """The session that finishes the video in `source`.

        Raises:
            NothingFoundError: the store does not know this video.
            ModelError: its model is neither where it was nor where the user says.
        """
        identity = identify(locate(source))[:16]
        found = store.find(identity) if store is not None else None
        if found is None:
            where = f"the store {store.path}" if store is not None else "a store"
            raise NothingFoundError(f"{source} is not in {where}", "ingest it first with --model")
        record = found[0]
        key = (record.profile, record.notes.get("model"), record.notes.get("revision"))
        if self._last is None or self._last[0] != key:
            checkpoint = self._checkpoint(record)
            session = IngestSession(
                checkpoint,
                choose_placement(
                    self.device, str(record.profile["dtype"]), record.profile.get("weights_in")
                ),
                stored_settings(record, self.decoder, self.skip_damaged, self.thumbnails),
                tags=self.tags,
                on_load=lambda: self.on_load(checkpoint.source),
            )
            self._last = (key, session)
        return self._last[1]

    def _checkpoint(self, record: "VideoRecord") -> Checkpoint:
        try:
            return find_checkpoint(record.notes["model"], record.notes["revision"] or None)
        except ModelError:
            if self.model is None:
                raise
            return find_checkpoint(self.model, self.revision)


def stored_settings(
    record: "VideoRecord",
    decoder: Decoder = "auto",
    skip_damaged: bool = False,
    thumbnails: bool | None = None,
) -> Settings:
    """The settings a video was ingested with, out of its profile: no default can creep in."""
    profile = record.profile
    name = str(record.notes.get("preset", "default"))
    stored = {f.name: profile[f.name] for f in fields(Method) if f.name in profile}
    return Settings(
        method=replace(PRESETS.get(name, PRESETS["default"]), **{**UNNAMED, **stored}),
        fps=profile["fps"],
        init_prompt=profile["init_prompt"],
        guidance_prompt=profile["guidance_prompt"],
        decoder=decoder,
        skip_damaged=skip_damaged,
        frame_tokens=profile.get("frame_tokens"),
        thumbnails=thumbnails,
    )
