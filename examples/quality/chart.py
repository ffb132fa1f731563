"""Accuracy over bytes as an SVG picture; it carries its own white ground, for dark pages too."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from .results import Total, interval

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 60, 200, 30, 50
COLOURS = ("#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#64473a", "#9b9a97", "#e03e3e")


def chart(totals: Sequence[Total], title: str) -> str:
    """One line a row: every kept fraction at its bytes an hour, with 95 % intervals."""
    rows: dict[str, list[Total]] = {}
    for total in totals:
        rows.setdefault(total.row, []).append(total)
    sizes = [total.bytes_per_hour / 1e6 for total in totals]
    low, high = log10(min(sizes) * 0.8), log10(max(sizes) * 1.25)
    floor_y = min(interval(t.right, t.asked)[0] for t in totals)
    bottom = floor(floor_y * 10) / 10

    def x(size: float) -> float:
        return LEFT + (log10(size / 1e6) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(share: float) -> float:
        return TOP + (1 - share) / (1 - bottom) * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 18, title, weight="bold")]
    for step in range(round((1 - bottom) * 20) + 1):
        share = 1 - step / 20
        parts.append(_line(LEFT, y(share), WIDTH - RIGHT, y(share), "#e3e2e0"))
        parts.append(_text(LEFT - 8, y(share) + 4, f"{100 * share:.0f} %", anchor="end"))
    for size in _ticks(10**low, 10**high):
        at = x(size * 1e6)
        parts.append(_line(at, TOP, at, HEIGHT - BOTTOM, "#e3e2e0"))
        parts.append(_text(at, HEIGHT - BOTTOM + 18, f"{size:g}", anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 12, "MB an hour of video on disk", anchor="middle"))
    for number, (row, points) in enumerate(rows.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = sorted(points, key=lambda t: t.bytes_per_hour)
        path = " ".join(f"{x(t.bytes_per_hour):.1f},{y(t.accuracy):.1f}" for t in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for t in points:
            at, (least, most) = x(t.bytes_per_hour), interval(t.right, t.asked)
            parts.append(_line(at, y(least), at, y(most), colour, opacity=0.45))
            parts.append(f'<circle cx="{at:.1f}" cy="{y(t.accuracy):.1f}" r="4" fill="{colour}"/>')
        where = TOP + 14 + 20 * number
        parts.append(f'<circle cx="{WIDTH - RIGHT + 20}" cy="{where}" r="5" fill="{colour}"/>')
        parts.append(_text(WIDTH - RIGHT + 32, where + 4, row))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... within bounds."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, opacity: float = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-opacity="{opacity:g}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" fill="#37352f"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
