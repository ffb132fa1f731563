"""Which pictures a damaged stretch of a stream has spoilt.

A damaged packet spoils its own picture and every one predicted from it: all that follow in *decode*
order up to the next key picture, among them pictures *shown* before it. So a picture can be called
sound only when all that came before it in decode order has been decoded; until then it waits.
Codecs carry no checksums: a changed byte that still decodes goes unseen, here as in every player.
"""

from __future__ import annotations

from dataclasses import dataclass

HORIZON = 64
"""Packets: no decoder holds back a picture, or the news of an error, for longer (the codecs reorder
at most 16, libav runs at most 16 threads); a packet older than this will never give a picture."""

MEMORY = 20_000
"""Packets remembered at most, however long a damaged stretch is."""


@dataclass
class _Spoilt:
    """Decode positions [begin, end), and what is shown before the key picture at `end`."""

    begin: int
    end: int | None = None
    key_pts: int | None = None

    def covers(self, position: int, pts: int) -> bool:
        if position < self.begin:
            return False
        if self.end is None or position < self.end:
            return True
        # Decoded after the key picture, but shown before it: it may refer to what came before.
        return position > self.end and self.key_pts is not None and pts < self.key_pts


class DamageTracker:
    """Follows packets into and pictures out of one decoder.

    Positions count packets in decode order; a time stamp identifies a packet's picture.
    """

    def __init__(self) -> None:
        self._position = -1
        self._pending: dict[int, int] = {}  # time stamp -> position, no picture yet
        self._keys: list[tuple[int, int]] = []  # position and time stamp of key packets
        self._spoilt: list[_Spoilt] = []

    def packet(self, pts: int | None, key: bool) -> None:
        """A packet goes into the decoder."""
        self._position += 1
        if pts is None:
            return
        self._pending[pts] = self._position
        if key:
            self._keys.append((self._position, pts))
            for span in self._spoilt:
                if span.end is None:
                    span.end, span.key_pts = self._position, pts
        if self._position % HORIZON == 0:
            self._forget()

    def picture(self, pts: int | None, *, corrupt: bool) -> int:
        """A picture has come out; return its decode position."""
        position = self._position if pts is None else self._pending.pop(pts, self._position)
        if corrupt:
            self._spoil(position, position)
        return position

    def error(self, delay: int) -> None:
        """The decoder has refused the packet just given, or one of the `delay` before it."""
        self._spoil(max(0, self._position - delay), self._position)

    def settled(self, position: int) -> bool:
        """Whether no damage can come to light any more that spoils the picture at `position`."""
        if self._position - position > HORIZON:
            return True
        return all(at > position for at in self._pending.values())

    def sound(self, position: int, pts: int, until: int) -> bool:
        """Whether a picture may stand for the screen from time stamp `pts` up to `until`.

        It may not if it is spoilt itself, nor if a spoilt picture that never came out was due.
        """
        if any(span.covers(position, pts) for span in self._spoilt):
            return False
        return not any(
            pts < lost <= until and span.covers(at, lost)
            for span in self._spoilt
            for lost, at in self._pending.items()
        )

    def _spoil(self, begin: int, seen: int) -> None:
        """Spoil from `begin` to the first key packet that lies surely behind the damage."""
        span = _Spoilt(begin)
        for position, pts in self._keys:
            if position > seen:
                span.end, span.key_pts = position, pts
                break
        self._spoilt.append(span)

    def _forget(self) -> None:
        """Drop what can touch no picture any more, so that memory stays flat."""
        old = self._position - 2 * HORIZON
        self._spoilt = [s for s in self._spoilt if s.end is None or s.end > old]
        old = max(min((s.begin for s in self._spoilt), default=old), self._position - MEMORY)
        self._pending = {pts: at for pts, at in self._pending.items() if at >= old}
        self._keys = [key for key in self._keys if key[0] >= old]
        # A long damaged stretch reports itself over and over: one open span says it all.
        still_open = [s for s in self._spoilt if s.end is None]
        self._spoilt = [s for s in self._spoilt if s.end is not None] + still_open[:1]
