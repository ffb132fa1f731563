"""From sampled pictures to the sink, once it is known that they are sound."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamkv_cli.video.damage import DamageTracker
from streamkv_cli.video.orient import Orientation
from streamkv_cli.video.sampler import EPSILON, Sampler
from streamkv_cli.video.sink import Sink
from streamkv_cli.video.source import frame_orientation, to_pixels

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Shown:
    """A decoded picture.

    Attributes:
        frame: as libav gives it, not yet converted: most pictures are never asked for.
        time: presentation time in seconds.
        position: place in decode order, see `damage`.
    """

    frame: VideoFrame
    time: float
    position: int


class Delivery:
    """Holds sampled pictures until they are known to be sound, then hands them on.

    Args:
        sampler: tells each sample's time.
        sink: takes the samples.
        damage: knows what is spoilt; may be replaced when decoding begins anew.
        tick: seconds of one unit of the stream's time stamps.

    Attributes:
        left_out: times in seconds of the samples whose picture was spoilt.
    """

    def __init__(self, sampler: Sampler, sink: Sink, damage: DamageTracker, tick: float) -> None:
        self.damage = damage
        self.left_out: list[float] = []
        self._sampler = sampler
        self._sink = sink
        self._tick = tick
        self._waiting: deque[tuple[Shown, range]] = deque()
        self._turns: dict[int, Orientation] = {}

    def hold(self, picture: Shown | None, samples: range) -> None:
        """Take the picture that is on screen at the given samples."""
        if samples and picture is not None:
            self._waiting.append((picture, samples))

    def deliver(self, *, last: bool = False) -> None:
        """Hand on what is settled by now; all, when the last picture is out."""
        while self._waiting:
            picture, samples = self._waiting[0]
            if not last and not self.damage.settled(picture.position):
                return
            self._waiting.popleft()
            self._hand_on(picture, samples)

    def _hand_on(self, picture: Shown, samples: range) -> None:
        pixels = None
        for k in samples:
            at = self._sampler.time(k)
            if not self._sound(picture, at):
                self.left_out.append(at)
                continue
            if pixels is None:
                pixels = to_pixels(picture.frame, self._turn(picture.frame), self._sink.size)
            self._sink.picture(k, at, pixels)

    def _sound(self, picture: Shown, until: float) -> bool:
        pts = picture.frame.pts
        if pts is None or not self._tick:
            return True
        ticks = int((until - picture.time + EPSILON) / self._tick)
        return self.damage.sound(picture.position, pts, pts + ticks)

    def _turn(self, frame: VideoFrame) -> Orientation:
        """The frame's orientation, looked up anew only where its angle changes."""
        if frame.rotation not in self._turns:
            self._turns[frame.rotation] = frame_orientation(frame)
        return self._turns[frame.rotation]
