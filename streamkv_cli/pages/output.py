"""Where a page is written: whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from streamkv_cli.errors import DiskError

STDOUT = "-"


def check_place(target: str) -> None:
    """Refuse a place that cannot be written to, before anything is computed for it.

    Raises:
        DiskError: it is a folder, its folder is missing, or there is no permission.
    """
    path = Path(target)
    if target == STDOUT:
        return
    if path.is_dir():
        raise _error(target, "it is a folder")
    folder = path.resolve().parent
    if not path.exists() and not folder.is_dir():
        raise _error(target, "there is no such folder")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise _error(target, "no permission")


def write_page(target: str, page: str) -> int:
    """Write a page to a file, in one step that leaves the old one until the new one is whole.

    Returns:
        Bytes written.

    Raises:
        DiskError: it cannot be written.
    """
    data = page.encode()
    place = Path(target)
    try:
        if place.exists() and not place.is_file():  # a pipe or a device takes it as it comes
            place.write_bytes(data)
        else:
            _replace(place.resolve(), data)  # a link stays one
    except BrokenPipeError:
        raise  # whoever read /dev/stdout has seen enough
    except OSError as error:
        raise _error(target, error.strerror or str(error)) from None
    return len(data)


def _replace(path: Path, data: bytes) -> None:
    fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _error(target: str, why: str) -> DiskError:
    return DiskError(f"the page {target} cannot be written: {why}", "give --html another place")
