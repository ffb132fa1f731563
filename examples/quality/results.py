"""What was measured, cell by cell, in a file of JSON lines; and what it comes to."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

Cell = dict[str, Any]


class Results:
    """Cells on disk: each is one line, written when it is done, and never measured again.

    Args:
        path: of the JSON lines; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells: dict[str, Cell] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                # The last line of a run that was killed may be half a line.
                if line.endswith("}"):
                    cell = json.loads(line)
                    self.cells[cell["key"]] = cell

    def __contains__(self, key: str) -> bool:
        """Whether a cell was measured."""
        return key in self.cells

    def add(self, cell: Cell) -> None:
        """Append a cell."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a") as lines:
            lines.write(("\n" if torn else "") + json.dumps(cell) + "\n")
        self.cells[cell["key"]] = cell


@dataclass
class Total:
    """Several cells of one row taken together.

    Attributes:
        row, keep: the setting.
        kinds: right answers and answers by kind of question.
        bytes, hours, kept, frames: sums over the films; `kept` are blocks stored in a layer.
        fetched: sum over questions of the mean of blocks fetched in a layer.
    """

    row: str
    keep: float
    kinds: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    films: int = 0
    bytes: int = 0
    hours: float = 0.0
    kept: float = 0.0
    frames: int = 0
    fetched: float = 0.0

    @property
    def right(self) -> int:
        """Right answers."""
        return sum(right for right, _ in self.kinds.values())

    @property
    def asked(self) -> int:
        """Answers."""
        return sum(asked for _, asked in self.kinds.values())

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.asked

    @property
    def bytes_per_hour(self) -> float:
        """Of the segment files."""
        return self.bytes / self.hours

    def add(self, cell: Cell) -> None:
        """Count a cell in."""
        for answer in cell["answers"]:
            count = self.kinds[answer["kind"]]
            count[0] += answer["right"]
            count[1] += 1
            self.fetched += answer["blocks"]
        self.films += 1
        self.bytes += cell["bytes"]
        self.hours += cell["hours"]
        self.kept += cell["kept"]
        self.frames += cell["frames"]


def totals(cells: Iterable[Cell], **where: str) -> list[Total]:
    """One total a row and kept fraction, over the cells whose fields are as given."""
    found: dict[tuple[str, float], Total] = {}
    for cell in cells:
        if all(cell[name] == value for name, value in where.items()):
            key = (cell["row"], cell["keep"])
            found.setdefault(key, Total(*key)).add(cell)
    return list(found.values())


def interval(right: int, asked: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. B. Wilson, 1927)."""
    share = right / asked
    scale = 1 + z * z / asked
    middle = (share + z * z / (2 * asked)) / scale
    half = z * sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)
