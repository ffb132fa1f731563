"""A film's sampled frames, decoded once, and a model that looks at each of them once.

Dozens of settings are measured on the same film. Decoder and vision tower would do the same work
for each of them; everything behind the tower runs anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from streamkv_cli.model.video_llm import FrameFeatures, VideoLLM
from streamkv_cli.video import Frame, VideoInfo, fingerprint, open_video


@dataclass
class Footage:
    """What the decoder made of a film at one rate; stands for the reader of an open video.

    Attributes:
        info: the video.
        identity: fingerprint of the file.
        fps: frames sampled a second.
    """

    info: VideoInfo
    identity: str
    fps: float
    frames: list[Frame]

    @classmethod
    def of(cls, path: Path, fps: float) -> "Footage":
        """Decode a file with the program's decoder."""
        with open_video(str(path), fps=fps, decoder="auto") as reader:
            return cls(reader.info, fingerprint(path), fps, list(reader))

    def __iter__(self) -> Iterator[Frame]:
        """The frames in order."""
        return iter(self.frames)

    @property
    def hours(self) -> float:
        """Length of the film."""
        assert self.info.duration is not None
        return self.info.duration / 3600


class RememberingModel:
    """A model that remembers what its vision tower made of a batch of pictures.

    Batches are aligned to the sampling grid, so the same film gives the same batches whatever the
    settings, and what is remembered is what would have been computed, to the last bit.

    Args:
        model: does everything else.
    """

    def __init__(self, model: VideoLLM) -> None:
        self._model = model
        self._seen: dict[str, FrameFeatures] = {}
        self.looked = 0

    def __getattr__(self, name: str) -> Any:
        """Everything but the tower is the model's own."""
        return getattr(self._model, name)

    def preprocess(self, frames: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Left to `features`, which knows whether it is needed."""
        return frames

    def features(self, frames: Sequence[np.ndarray]) -> FrameFeatures:
        """Features of a batch of pictures, computed the first time they are seen."""
        digest = xxhash.xxh3_128()
        for frame in frames:
            digest.update(frame.tobytes())
        key = digest.hexdigest()
        if key not in self._seen:
            self._seen[key] = self._model.features(self._model.preprocess(frames))
            self.looked += len(frames)
        return self._seen[key]

    def forget(self) -> None:
        """Before the next film."""
        self._seen.clear()
