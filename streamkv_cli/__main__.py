"""`python -m streamkv_cli` and the `streamkv` command."""

import os
import signal
from types import FrameType


def _end(_number: int, _frame: FrameType | None) -> None:
    """An interrupt while the program still loads: nothing is open yet, so just say it and go."""
    os.write(2, b"\ninterrupted\n")
    os._exit(130)


for _sign in (signal.SIGTERM, signal.SIGINT):
    signal.signal(_sign, _end)

if "OMP_WAIT_POLICY" not in os.environ:
    # Threads of a matrix product wait for one another by spinning, for milliseconds by default:
    # where another process wants the processor, too, a small product then takes ten times as long.
    # A tenth of a millisecond spans what Python does between two products, and little is lost.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from streamkv_cli.app import main  # noqa: E402 - it takes a while to load

if __name__ == "__main__":
    main()
