"""The tracker against a model of a decoder that knows which picture refers to which."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from streamkv_cli.video.damage import HORIZON, DamageTracker


@dataclass(frozen=True)
class Packet:
    pts: int
    key: bool


def stream(groups: int, mini: int, per_group: int) -> list[Packet]:
    """Open groups of pictures in decode order: I, then P and the `mini` B shown before it."""
    packets = [Packet(0, True)]
    for number in range(1, groups * per_group):
        anchor = number * (mini + 1)
        packets.append(Packet(anchor, number % per_group == 0))
        packets += [Packet(anchor - mini + b, False) for b in range(mini)]
    return packets


def truly_spoilt(packets: list[Packet], bad: int) -> set[int]:
    """Time stamps that a damaged packet spoils: each picture refers to the latest two anchors."""
    spoilt: set[int] = set()
    anchors: list[int] = []
    for position, packet in enumerate(packets):
        is_anchor = packet.pts > max(anchors, default=-1)
        refers = [] if packet.key else (anchors[-1:] if is_anchor else anchors[-2:])
        if position == bad or any(pts in spoilt for pts in refers):
            spoilt.add(packet.pts)
        if is_anchor:
            anchors.append(packet.pts)
    return spoilt


@given(st.integers(1, 4), st.integers(0, 3), st.integers(2, 5), st.data())
def test_no_spoilt_picture_is_called_sound(
    groups: int, mini: int, per_group: int, data: st.DataObject
) -> None:
    packets = stream(groups, mini, per_group)
    bad = data.draw(st.integers(0, len(packets) - 1))
    lost = data.draw(st.booleans())
    tracker = DamageTracker()
    verdicts: dict[int, bool] = {}
    waiting: list[tuple[int, int]] = []
    shown = 0
    decoded: dict[int, bool] = {}

    def judge(*, last: bool) -> None:
        while waiting and (last or tracker.settled(waiting[0][0])):
            position, pts = waiting.pop(0)
            verdicts[pts] = tracker.sound(position, pts, pts)

    for position, packet in enumerate(packets):
        tracker.packet(packet.pts, packet.key)
        if position == bad and lost:
            tracker.error(delay=0)
            decoded[packet.pts] = False
        else:
            decoded[packet.pts] = True
        while shown in decoded:  # a decoder that shows each picture as soon as its turn comes
            if decoded[shown]:
                corrupt = shown == packets[bad].pts
                waiting.append((tracker.picture(shown, corrupt=corrupt), shown))
            shown += 1
        judge(last=False)
    judge(last=True)

    spoilt = truly_spoilt(packets, bad)
    assert all(not sound for pts, sound in verdicts.items() if pts in spoilt)
    after = [n for n, p in enumerate(packets) if n > bad and p.key]
    if after:  # and what comes after the next key picture is sound again
        key = packets[after[0]].pts
        assert all(sound for pts, sound in verdicts.items() if pts >= key)
    before = min(p.pts for p in packets[bad:])
    assert all(sound for pts, sound in verdicts.items() if pts < before)


def test_a_lost_picture_is_not_replaced_by_the_one_before() -> None:
    tracker = DamageTracker()
    tracker.packet(0, key=True)
    first = tracker.picture(0, corrupt=False)
    tracker.packet(10, key=False)
    tracker.error(delay=0)
    assert tracker.sound(first, 0, until=9)
    assert not tracker.sound(first, 0, until=10)


def test_a_packet_without_a_picture_holds_nothing_back_for_ever() -> None:
    tracker = DamageTracker()
    tracker.packet(0, key=True)  # never comes out
    tracker.packet(1, key=False)
    position = tracker.picture(1, corrupt=False)
    assert not tracker.settled(position)
    for pts in range(2, HORIZON + 3):
        tracker.packet(pts, key=False)
        tracker.picture(pts, corrupt=False)
    assert tracker.settled(position)


def test_memory_stays_flat_over_endless_damage() -> None:
    tracker = DamageTracker()
    tracker.packet(0, key=True)
    for pts in range(1, 100_000):
        tracker.packet(pts, key=False)
        tracker.error(delay=2)
    assert len(tracker._pending) < 25_000
    assert len(tracker._spoilt) < 2 * HORIZON
