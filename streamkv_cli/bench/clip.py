"""The first seconds of a video as a video of its own, for the loops that are measured."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from streamkv_cli.video import Frame, FrameReader, VideoInfo


@dataclass
class Clip:
    """A reader that ends after some seconds.

    Attributes:
        reader: of the whole video.
        seconds: of it, from its first frame on.
    """

    reader: FrameReader
    seconds: float

    @property
    def info(self) -> VideoInfo:
        """The video, no longer than the clip."""
        info = self.reader.info
        if info.duration is None or info.duration > self.seconds:
            return replace(info, duration=self.seconds)
        return info

    def __iter__(self) -> Iterator[Frame]:
        """Its frames."""
        for frame in self.reader:
            if frame.time >= self.seconds:
                return
            yield frame
