"""A real browser without a window: how a page looks, what it complains of, whom it calls."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 100
"""Seconds for one page."""

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
_OWN = re.compile(r"https?://([\w-]+\.)*(google|googleapis|gstatic|gvt1|gvt2)\.com[/:]")
"""What the browser itself calls when it starts, whatever page it is given."""


@dataclass(frozen=True)
class Seen:
    """What became of a page.

    Attributes:
        picture: uint8 `[height, width, 3]`, as on the screen.
        console: what the page wrote to the browser's console, errors among it.
        calls: addresses that it asked the network for.
    """

    picture: NDArray[np.uint8]
    console: list[str]
    calls: set[str]


def browser() -> str | None:
    """The browser on this machine, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def look_at(page: Path, width: int = 1200, height: int = 1000) -> Seen:
    """Open a page; no name resolves, so nothing that it calls is ever reached.

    Raises:
        AssertionError, subprocess.TimeoutExpired: the browser did not come up with a picture.
    """
    program = browser()
    assert program is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shot, calls, log = (Path(folder) / name for name in ("shot.png", "calls.json", "log"))
        command = [
            program,
            *_FLAGS,
            f"--user-data-dir={folder}/profile",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--window-size={width},{height}",
            f"--screenshot={shot}",
            f"--log-net-log={calls}",
            page.resolve().as_uri(),
        ]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(PATIENCE)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)
        told = log.read_text(errors="replace")
        assert code == 0, told
        assert shot.exists(), told
        with Image.open(shot) as image:
            picture = np.array(image.convert("RGB"))
        addresses = re.findall(r'"url":"((?!file:|data:)\w+:[^"]*)"', calls.read_text())
        return Seen(
            picture,
            re.findall(r"CONSOLE[:(]\d+\)?\] (.*)", told),
            {url for url in addresses if not _OWN.match(url) and not url.startswith("chrome")},
        )
