"""Decode with PyAV: any format libav knows, files and live streams alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import av

from streamkv_cli.video.damage import DamageTracker
from streamkv_cli.video.delivery import Delivery, Shown
from streamkv_cli.video.job import GiveUp, Job
from streamkv_cli.video.sampler import EPSILON, Sampler
from streamkv_cli.video.sink import Sink
from streamkv_cli.video.source import frame_orientation, open_source, shrunk

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SEEK_WORTH = 20.0
"""Seconds: decoding less than this is about as quick as a seek, and needs no trust in the index."""

CUT_OFF = 1.0
"""Seconds that may be missing from what the header promises before a file counts as cut off."""

MAX_READ_ERRORS = 20
"""Consecutive failures to read a packet after which the rest counts as lost."""


def decode(job: Job, sink: Sink) -> None:
    """Decode the job's source into the sink.

    Raises:
        GiveUp: it is no video, it is damaged, or it is cut off.
    """
    _Decoding(job, sink).run()


class _Decoding:
    """One pass over a source. Pictures are sampled first and judged (see `damage`) after."""

    def __init__(self, job: Job, sink: Sink) -> None:
        self.job = job
        self.sink = sink
        self.source = open_source(job)
        self.damage = DamageTracker()
        self.sampler = Sampler(job.fps, start=job.start, first=job.first)
        self.latest: Shown | None = None
        self.step = 0.0  # seconds between the latest two pictures
        self.delivery = Delivery(self.sampler, sink, self.damage, self.source.tick)
        self.first_damage: float | None = None
        self.cut_off = False

    def run(self) -> None:
        """Decode everything; raise `GiveUp` where that cannot be done rightly."""
        pictures = self._pictures()
        first = next(pictures, None)
        if first is None:
            raise GiveUp("holds no picture that can be decoded", self._kind())
        self._announce(first.frame)
        self.sampler.anchor(first.time)
        for picture in self._near_start(first, pictures):
            if self._in_order(picture):
                self.delivery.hold(self.latest, self.sampler.push(picture.time))
                self.step = picture.time - self.latest.time if self.latest else 0.0
                self.latest = picture
                self.delivery.deliver()
        self._finish()

    def _announce(self, frame: VideoFrame) -> None:
        width, height = frame_orientation(frame).size(frame.width, frame.height)
        width, height = shrunk(width, height, self.job.max_side)
        self.sink.opened(
            duration=self.source.duration(),
            width=width,
            height=height,
            codec=self.source.codec,
        )

    def _near_start(self, first: Shown, rest: Iterator[Shown]) -> Iterator[Shown]:
        """The pictures from the first on, or, where that is far, from just before the start."""
        wanted = self.sampler.wanted
        if self.job.live or first.frame.pts is None or wanted - first.time < SEEK_WORTH:
            return chain([first], rest)
        self._reopen()
        target = first.frame.pts + int((wanted - first.time) / self.source.tick)
        try:
            self.source.container.seek(target, stream=self.source.stream, backward=True)
        except (av.FFmpegError, OSError):
            self._reopen()
            return self._pictures()
        rest = self._pictures(sought=True)
        landed = next(rest, None)
        if landed is None or landed.time > wanted + EPSILON:
            self._reopen()
            return self._pictures()
        return chain([landed], rest)

    def _reopen(self) -> None:
        self.source.container.close()
        self.source = open_source(self.job, self.source.zero)
        self.damage = self.delivery.damage = DamageTracker()
        self.latest = None

    def _pictures(self, *, sought: bool = False) -> Iterator[Shown]:
        """Decode in presentation order.

        A stream may be entered in the middle (after a seek, or a recording that begins anywhere):
        pictures before the first key picture then refer to what was never read, and are no damage.
        """
        key: int | None = None
        for packet in self._packets():
            self.sink.alive()
            if packet.size:
                self.damage.packet(packet.pts, packet.is_keyframe)
                if key is None and packet.is_keyframe:
                    key = packet.pts
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if key is not None:
                    self._refused(packet, error)
                continue
            for frame in frames:
                corrupt = bool(frame.is_corrupt)
                early = key is None or (frame.pts is not None and frame.pts < key)
                if early and (corrupt or sought):
                    self.damage.picture(frame.pts, corrupt=False)
                    continue
                position = self.damage.picture(frame.pts, corrupt=corrupt)
                shown = Shown(frame, self._time(frame), position)
                if corrupt:
                    self._damaged(shown.time)
                yield shown

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """All packets of the stream, then the empty one that flushes the decoder.

        An incomplete last packet is where the file was cut off: it is left out, and remembered.
        """
        errors = 0
        incomplete: Packet[VideoStream] | None = None
        while errors < MAX_READ_ERRORS:
            try:
                for packet in self.source.container.demux(self.source.stream):
                    if packet.size:
                        errors = 0
                        if incomplete is not None:
                            self._damaged(self._packet_time(incomplete))
                            yield incomplete
                        incomplete = packet if packet.is_corrupt else None
                    if incomplete is not packet:
                        yield packet
                self.cut_off = incomplete is not None
                return
            except av.FFmpegError as error:
                errors += 1
                if self.job.live:
                    if self.latest is None and "mov" in self.source.container.format.name:
                        raise GiveUp(
                            "is an mp4 with its index at the end, which cannot be read from a pipe",
                            "piped",
                        ) from error
                    reason = (error.strerror or "connection lost").lower()
                    raise GiveUp(f"broke off at {self._near():.1f} s: {reason}") from error
                self._damaged(self._near())

    def _refused(self, packet: Packet[VideoStream], error: av.FFmpegError) -> None:
        if isinstance(error, (av.DecoderNotFoundError, av.PatchWelcomeError, av.MemoryError)):
            reason = (error.strerror or "unsupported").lower()
            raise GiveUp(f"cannot be decoded: {reason}") from error
        self._damaged(self._packet_time(packet))
        self.damage.error(delay=self.source.threads - 1)

    def _damaged(self, at: float) -> None:
        """Damage came to light near `at` seconds."""
        if not self.job.skip_damaged:
            raise GiveUp(f"is damaged at {max(at, 0):.1f} s", "damaged")
        if self.first_damage is None:
            self.first_damage = at

    def _kind(self) -> str:
        return "unreadable" if self.job.skip_damaged else "damaged"

    def _packet_time(self, packet: Packet[VideoStream]) -> float:
        return self._near() if packet.pts is None else self.source.seconds(packet.pts)

    def _near(self) -> float:
        return self.latest.time if self.latest else 0.0

    def _time(self, frame: VideoFrame) -> float:
        """Seconds; where time stamps are missing (raw streams), counted at the announced rate."""
        if self.source.zero is None:  # no start announced (some live streams): the first picture's
            self.source.zero = 0.0
            self.source.zero = 0.0 if frame.pts is None else self.source.seconds(frame.pts)
        if frame.pts is not None:
            return self.source.seconds(frame.pts)
        return self.latest.time + (self.source.interval() or 0.04) if self.latest else 0.0

    def _in_order(self, picture: Shown) -> bool:
        if self.latest is None or picture.time >= self.latest.time:
            return True
        if self.latest.time - picture.time > 1.0:
            raise GiveUp(
                f"has time stamps that jump back from {self.latest.time:.1f} s "
                f"to {picture.time:.1f} s",
                "timestamps",
            )
        return False  # a stray picture that no player would show

    def _finish(self) -> None:
        end, promised = self._end()
        self.delivery.hold(self.latest, self.sampler.finish(end))
        self.delivery.deliver(last=True)
        lost = self.delivery.left_out
        early = promised is not None and promised - end > max(CUT_OFF, 2 * self.step)
        if early or self.cut_off:
            what = f"is cut off: it ends at {end:.1f} s"
            what += f" of {promised:.1f} s" if early else ""
            if not self.job.skip_damaged:
                raise GiveUp(what, "damaged")
            self.sink.warn(what)
        if lost:
            self.sink.warn(
                f"is damaged: {len(lost)} samples between {lost[0]:.1f} s "
                f"and {lost[-1]:.1f} s are left out"
            )
        elif self.first_damage is not None:
            self.sink.warn(f"is damaged at {self.first_damage:.1f} s; no sample is lost")

    def _end(self) -> tuple[float, float | None]:
        """Seconds at which the last picture leaves the screen, and what the header promised."""
        if self.latest is None:
            return 0.0, None
        promised = None if self.job.live else self.source.promised_end()
        length = (self.latest.frame.duration or 0) * self.source.tick
        if length > 0:
            return self.latest.time + length, promised
        # No length given: as long as the one before, or up to the end that the header names.
        end = self.latest.time + (self.step or self.source.interval() or 0.04)
        return max(end, promised or 0.0), None
