"""Training logs as the model card's table: share of right answers by kind along the way.

python -m examples.demo_model.curve LOG [LOG ...] [--every 400]
"""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

from .evaluate import KINDS

SHOWN = tuple(kind for kind in KINDS if kind != "off-world")
_LINE = re.compile(r"step (\d+) phase (\d+) loss \S+ all (\S+) (.*) attended .* \((\d+) s\)$")


def rows(lines: Iterable[str], every: int) -> list[list[str]]:
    """[step, phase, all, each kind, seconds] of the reports at multiples of `every`."""
    found = []
    for line in lines:
        match = _LINE.search(line)
        if match is None or int(match[1]) % every:
            continue
        step, phase, overall, kinds, seconds = match.groups()
        words = kinds.split()
        shares = dict(zip(words[::2], words[1::2], strict=True))
        found.append([step, phase, overall, *(shares.get(kind, "-") for kind in SHOWN), seconds])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=400, help="steps between two rows")
    given = parser.parse_args()
    header = ["step", "phase", "all", *SHOWN, "s"]
    lines = (line for log in given.logs for line in log.read_text().splitlines())
    for row in [header, ["---"] * len(header), *rows(lines, given.every)]:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
