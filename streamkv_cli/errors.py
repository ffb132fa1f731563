"""Every error a user can meet: one line saying what happened, one way out, one exit code.

The store has errors of its own (`store.errors`), because it knows nothing of this program; the
command line maps both kinds to the same line and the same codes.
"""

EXIT_DONE = 0
EXIT_NOTHING_FOUND = 1
EXIT_USAGE = 2
EXIT_INPUT_FAILED = 3
EXIT_STORE_REFUSED = 4
EXIT_DISK = 5
EXIT_INTERRUPTED = 130


class StreamKVError(Exception):
    """A foreseeable failure, shown as one line and never as a traceback.

    Args:
        what: what happened, to what: one line without a full stop at the end.
        remedy: what the user can do about it: one line, may be empty.
    """

    exit_code = EXIT_USAGE

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        """One line: what happened; what to do."""
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


class UsageError(StreamKVError):
    """A flag, a value or a combination of them that cannot work."""

    exit_code = EXIT_USAGE


class NothingFoundError(StreamKVError):
    """The store, the video or the answer asked for is not there."""

    exit_code = EXIT_NOTHING_FOUND


class ModelError(StreamKVError):
    """The model is missing, half downloaded, unsupported, or does not fit the machine."""

    exit_code = EXIT_USAGE


class VideoError(StreamKVError):
    """A video that cannot be read, or not rightly; names the file and, where known, the second."""

    exit_code = EXIT_INPUT_FAILED


class DiskError(StreamKVError):
    """Reading or writing failed: disk full, no permission, I/O error."""

    exit_code = EXIT_DISK
