"""Start, hear, feed and end a decoder's child process: the parent's side of the channel."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from typing import TYPE_CHECKING, Any

from streamkv_cli.video.job import Job
from streamkv_cli.video.ring import Ring, memory_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A plain interpreter, not multiprocessing's spawn: that one would import the caller's main module
# (torch with it) again. -P keeps a stray file in the working directory from being imported.
_BOOT = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import json, sys; "
    "sys.path[:] = json.loads(sys.argv[1]); from streamkv_cli.video.child import main; "
    "main(sys.argv[2], json.loads(sys.argv[3]))"
)


class Silent(Exception):  # noqa: N818 - a state of the child, not an error of this program
    """The child gave no sign of life for too long."""


class Died(Exception):  # noqa: N818
    """The child ended without a word; says how, to read after the video's name."""


class ChildProcess:
    """A running decoder.

    Args:
        job: what it decodes.
        use_stdin: give it the program's standard input.
    """

    def __init__(self, job: Job, *, use_stdin: bool = False) -> None:
        self._messages, messages_out = os.pipe()
        credits_in, self._credits = os.pipe()
        lifeline_in, lifeline = os.pipe()
        self._memory = memory_file()
        inherited = [messages_out, credits_in, self._memory, lifeline_in]
        ours = [self._messages, self._credits, self._memory, lifeline]
        try:
            self._process = _spawn(job, inherited, use_stdin=use_stdin)
        except BaseException:
            _close(ours)
            raise
        finally:
            _close([messages_out, credits_in, lifeline_in])
        # Runs once: on end(), when the last reference goes, or at exit.
        self._end = weakref.finalize(self, _end, self._process, ours)
        self._buffer = b""
        self._ring: Ring | None = None
        self._taken = 0

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._process.pid

    def receive(self, timeout: float) -> dict[str, Any]:
        """The next message.

        Raises:
            Silent: none came within `timeout` seconds.
            Died: the child ended.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if not _readable(self._messages, deadline - time.monotonic()):
                raise Silent
            piece = os.read(self._messages, 65536)
            if not piece:
                raise Died(self._how_it_ended())
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def share(self, slots: int, width: int, height: int) -> None:
        """Map the ring of pictures that the child has announced."""
        self._ring = Ring(self._memory, slots, width, height, create=False)

    def take_picture(self) -> NDArray[np.uint8]:
        """Copy the picture just announced out of its slot, and give the slot back."""
        if self._ring is None:
            raise Died("was announced without pictures")
        pixels = self._ring.slot(self._taken).copy()
        self._taken += 1
        with contextlib.suppress(BrokenPipeError):  # its last words are still to be read
            os.write(self._credits, b"+")
        return pixels

    def end(self) -> None:
        """End the child now and give everything back; may be called again."""
        self._end()
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"ended its decoder early (exit code {code})"
        try:
            return f"crashed its decoder ({signal.Signals(-code).name})"
        except ValueError:
            return f"crashed its decoder (signal {-code})"


def _spawn(job: Job, inherited: list[int], *, use_stdin: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", _BOOT]
    arguments = [json.dumps(sys.path), job.dumps(), json.dumps(inherited)]
    # Native code writes what it likes to standard error; it goes to a file nobody else sees, whose
    # growth the decord decoder takes as a sign of trouble.
    with tempfile.TemporaryFile() as complaints:
        return subprocess.Popen(
            command + arguments,
            stdin=None if use_stdin else subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            pass_fds=inherited,
        )


def _readable(fd: int, timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, timeout)))


def _end(process: subprocess.Popen[bytes], descriptors: list[int]) -> None:
    process.kill()
    process.wait()
    _close(descriptors)


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
