"""Die with the parent: a decoder's child must not outlive the program, however that ends."""

import contextlib
import os
import signal
import threading


def hold(fd: int) -> None:
    """End this process as soon as the other end of the pipe `fd` is closed.

    The parent holds the only other end and never writes, so its death, SIGKILL included, closes it.
    On Linux the kernel then sends SIGIO, whose default action ends the process: that works even
    while a native decoder hangs with Python's global lock held. The thread does it elsewhere.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait, args=(fd,), daemon=True).start()


def _wait(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.read(fd, 1)
    os._exit(1)
