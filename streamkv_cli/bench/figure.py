"""A figure with its peer and its bound, measured turn by turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Figure:
    """One measured quantity, smaller being better.

    Attributes:
        name: what was measured.
        unit: s, bytes, or bytes/h.
        ours: what the program does, one value a round.
        peer: what somebody would do instead, in the same rounds; None where there is none.
        bound: what the machine needs for the least that has to be done; None where unknown.
        peer_is, bound_is: in words.
        notes: further values, by name.
    """

    name: str
    unit: str
    ours: list[float]
    peer: list[float] | None = None
    bound: list[float] | None = None
    peer_is: str = ""
    bound_is: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def gain(self) -> float | None:
        """How many times the peer takes: the median of the rounds' ratios."""
        return _ratio(self.peer, self.ours)

    @property
    def share(self) -> float | None:
        """Bound over ours, the median of the rounds' ratios: 1 is as fast as the machine goes."""
        return _ratio(self.bound, self.ours)

    @property
    def frames_per_second(self) -> float | None:
        """Of a figure that says how many frames it was about."""
        seconds = median(self.ours)
        return self.notes["frames"] / seconds if "frames" in self.notes and seconds else None

    def as_json(self) -> dict[str, Any]:
        """All of it, with the ratios."""
        values = {name: value for name, value in vars(self).items() if name != "notes"}
        told = {"gain": self.gain, "share": self.share, **self.notes}
        rate = self.frames_per_second
        return {**values, **told, **({} if rate is None else {"frames_per_second": rate})}


def turns(rounds: int, **sides: Callable[[], float]) -> Mapping[str, list[float]]:
    """Call each side once a round, in turn, forwards and backwards: drift meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            taken[name].append(sides[name]())
    return taken


def _ratio(above: list[float] | None, below: list[float]) -> float | None:
    if not above or not all(below):
        return None
    return median(a / b for a, b in zip(above, below, strict=True))
