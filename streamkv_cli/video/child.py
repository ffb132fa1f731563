"""The decoder's process: what it loads can hang, abort or crash without harm to the program.

It runs as a fresh interpreter (see `process`), so it shares no lock, thread or native library
with the parent, and imports nothing but one decoder.
"""

import importlib
import os
import signal
from typing import Final

from streamkv_cli.video import lifeline
from streamkv_cli.video.job import GiveUp, Job
from streamkv_cli.video.sink import Channel, Sink

DECODERS: Final = {
    "decord": "streamkv_cli.video.decord_decoder",
    "pyav": "streamkv_cli.video.pyav_decoder",
}
"""Each module has `decode(job, sink) -> None`, which may raise `GiveUp`."""


def main(job_line: str, descriptors: list[int]) -> None:
    """Run one job and end the process; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    channel = Channel(*descriptors)
    lifeline.hold(channel.lifeline)
    job = Job.loads(job_line)
    sink = Sink(channel, job.ahead)
    status = 1
    try:
        _run(job, sink)
        status = 0
    except BrokenPipeError:
        pass  # the consumer has gone
    finally:
        # Not sys.exit: decord's threads can keep a normal exit from ever coming to an end.
        os._exit(status)


def _run(job: Job, sink: Sink) -> None:
    try:
        importlib.import_module(DECODERS[job.decoder]).decode(job, sink)
        sink.done()
    except BrokenPipeError:
        raise
    except GiveUp as verdict:
        sink.failed(verdict.what, verdict.kind)
    except ImportError as error:
        sink.failed(f"cannot be decoded: {job.decoder} is not installed ({error.name})", "doubt")
    except MemoryError:
        sink.failed("cannot be decoded: out of memory", "unreadable")
    except Exception as error:
        # Native bindings raise anything on hostile input; the parent needs a line, not a trace.
        text = " ".join(str(error).split())[:200]
        sink.failed(f"cannot be decoded: {type(error).__name__}: {text}", "unreadable")
