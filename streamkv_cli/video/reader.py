"""Open a video and read its frames, with whichever decoder does it rightly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from streamkv_cli.errors import UsageError, VideoError
from streamkv_cli.video.frame import Frame, VideoInfo
from streamkv_cli.video.job import Job
from streamkv_cli.video.locate import Place, locate
from streamkv_cli.video.process import ChildProcess, Died, Silent

_REMEDIES = {
    "damaged": "pass --skip-damaged to leave the damaged pictures out",
    "timestamps": "write its time stamps anew, e.g. ffmpeg -fflags +genpts -i IN -c copy OUT",
    "unreadable": "check the file, e.g. by playing it",
    "piped": "give its path, or a file with the index in front (ffmpeg -movflags faststart)",
    "unstarted": "free some memory, processes or open files",
    "silent": "check its disk or connection, or wait longer",
    "doubt": "use --decoder pyav",
}


class FrameReader:
    """Iterator of a video's frames; a context manager. Use `open_video` to get one.

    Until `ready` is called nothing is known of the video; the decoder works ahead all the same.

    Attributes:
        info: the video; `info.decoder` says what decodes it at present.
        warnings: what the user should know, each message once; grows while reading.
        decode_seconds: time the decoder has worked so far.
    """

    info: VideoInfo
    _child: ChildProcess | None = None
    _last_time: float | None = None

    def __init__(
        self, job: Job, name: str, *, stall_seconds: float, fall_back: bool, warning: str = ""
    ) -> None:
        self.warnings: list[str] = [warning] if warning else []
        self._name = name
        self._stall = stall_seconds
        self._fall_back = fall_back and job.decoder == "decord"
        self._worked_before = 0.0
        self._worked = 0.0
        self._begin(job)

    def ready(self) -> Self:
        """Wait for the first picture; gives this reader.

        Raises:
            VideoError: the video cannot be decoded.
        """
        try:
            while not self._opened:
                if self._hear()["type"] == "done":
                    raise self._error("holds no picture", "unreadable")
        except BaseException:
            self.close()
            raise
        return self

    @property
    def decode_seconds(self) -> float:
        """Seconds the decoder has worked so far."""
        return self._worked_before + self._worked

    def __enter__(self) -> Self:
        """Give this reader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close this reader."""
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """Give this reader: the frames can be read once."""
        return self

    def __next__(self) -> Frame:
        """The next frame.

        Raises:
            VideoError: the video cannot be decoded further; names it and the second.
        """
        while self._child is not None:
            message = self._hear()
            if message["type"] == "picture":
                return self._frame(message)
            if message["type"] == "done":
                self._worked = message["worked"]
                self.close()
        raise StopIteration

    def close(self) -> None:
        """Stop decoding and give everything back; may be called again."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _begin(self, job: Job) -> None:
        self._job = job
        self._opened = False
        try:
            self._child = ChildProcess(job, use_stdin=job.address == "pipe:0")
        except OSError as error:
            what = f"cannot be decoded: no process could be started ({error.strerror})"
            raise self._error(what, "unstarted") from error

    def _hear(self) -> dict[str, Any]:
        """The child's next message, acted upon; trouble ends in an error or in the fallback."""
        assert self._child is not None
        try:
            message = self._child.receive(self._stall)
        except Silent:
            what = f"gave no picture for {self._stall:g} s"
            return self._trouble(what + self._where(), "silent")
        except Died as death:
            return self._trouble(f"{death}{self._where()}", "unreadable")
        if message["type"] == "failed":
            return self._trouble(message["what"], message["kind"])
        if message["type"] == "opened":
            self._open(message)
        elif message["type"] == "warning":
            self._warn(f"{self._name} {message['what']}")
        return message

    def _open(self, message: dict[str, Any]) -> None:
        assert self._child is not None
        self._child.share(message["slots"], message["width"], message["height"])
        self.info = VideoInfo(
            name=self._name,
            duration=message["duration"],
            width=message["width"],
            height=message["height"],
            codec=message["codec"],
            decoder=self._job.decoder,
        )
        self._opened = True

    def _frame(self, message: dict[str, Any]) -> Frame:
        assert self._child is not None
        pixels = self._child.take_picture()
        self._worked = message["worked"]
        self._job = replace(self._job, first=message["index"] + 1)
        self._last_time = message["time"]
        return Frame(message["index"], message["time"], pixels)

    def _where(self) -> str:
        return "" if self._last_time is None else f" after {self._last_time:.1f} s"

    def _trouble(self, what: str, kind: str) -> dict[str, Any]:
        """Go on with PyAV from the next sample if decord failed and may be replaced; else raise."""
        self.close()
        if not self._fall_back:
            raise self._error(what, kind)
        self._fall_back = False
        self._worked_before, self._worked = self.decode_seconds, 0.0
        self._begin(replace(self._job, decoder="pyav"))
        self.ready()
        # Only now: where PyAV fails as well, its own error says what is wrong with the video.
        self._warn(f"PyAV decodes {self._name} in place of decord: the video {what}")
        return {"type": "replaced"}

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _error(self, what: str, kind: str) -> VideoError:
        return VideoError(f"{self._name} {what}", _REMEDIES[kind])


def open_video(
    source: str | Path,
    *,
    fps: float = 0.5,
    decoder: Literal["auto", "decord", "pyav"] = "auto",
    start: float = 0.0,
    ahead: int = 16,
    stall_seconds: float = 60.0,
    max_side: int | None = None,
    skip_damaged: bool = False,
    wait: bool = True,
) -> FrameReader:
    """Open a video for sampling; returns when its first picture is decoded.

    Args:
        source: a path, "/dev/stdin" for standard input, or a URL (rtsp://, http://, ...).
        fps: samples a second of presentation time.
        decoder: "auto" takes decord where it can be trusted and PyAV elsewhere.
        start: seconds; samples before it are left out, the others keep their index and time.
        ahead: pictures decoded ahead, at most; fewer if they would fill more than 256 MiB.
        stall_seconds: a decoder without progress for so long is ended.
        max_side: pixels; pictures are shrunk so that the longer side is at most this.
        skip_damaged: samples whose picture is damaged are left out (never replaced by another
            picture: their indices are missing), and a warning counts them.
        wait: for the first picture; else the decoder begins behind, and `ready` waits.

    Raises:
        VideoError: the source is missing, no video, or cannot be decoded.
        UsageError: an argument cannot work.
    """
    _check(fps, ahead, stall_seconds, max_side)
    place = locate(str(source))
    chosen, warning = _choose(decoder, place)
    job = Job(
        address=place.address,
        decoder=chosen,
        live=place.live,
        fps=float(fps),
        start=float(start),
        first=0,
        ahead=ahead,
        max_side=max_side,
        skip_damaged=skip_damaged,
    )
    reader = FrameReader(
        job, place.name, stall_seconds=stall_seconds, fall_back=decoder == "auto", warning=warning
    )
    return reader.ready() if wait else reader


def _check(fps: float, ahead: int, stall_seconds: float, max_side: int | None) -> None:
    if not 0 < fps <= 1000:
        raise UsageError(f"cannot sample {fps} frames a second", "give an fps above 0, e.g. 0.5")
    if ahead < 1:
        raise UsageError(f"cannot decode {ahead} pictures ahead", "give at least 1")
    if not stall_seconds > 0:
        raise UsageError(f"cannot wait {stall_seconds} s for a frame", "give more than 0 seconds")
    if max_side is not None and max_side < 1:
        raise UsageError(f"cannot shrink pictures to {max_side} pixels", "give at least 1")


def _choose(decoder: str, place: Place) -> tuple[str, str]:
    """The decoder to begin with, and what to tell the user about the choice."""
    if decoder not in ("auto", "decord", "pyav"):
        raise UsageError(f"there is no decoder {decoder!r}", "take auto, decord or pyav")
    if decoder == "decord" and place.live:
        raise UsageError(f"decord cannot read the stream {place.name}", "take --decoder pyav")
    if decoder != "auto":
        return decoder, ""
    if place.live:
        return "pyav", f"PyAV decodes {place.name} in place of decord: the video is a stream"
    return "decord", ""
