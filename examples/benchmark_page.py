"""What `benchmark` found, as the tables and the plot of docs/performance.md."""

import json
from collections.abc import Callable, Sequence
from html import escape
from math import log10
from pathlib import Path
from statistics import median
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 360, 70, 190, 30, 50
LINES: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "ingest, s": ("#0b6e99", lambda g: g["ingest_seconds"]),
    "first token, ms": ("#d9730d", lambda g: 1000 * g["first_token_seconds"]),
    "memory of ingest, MiB": ("#6940a5", lambda g: g["ingest_own_bytes"] / 2**20),
    "index, MiB": ("#0f7b6c", lambda g: g["index_bytes"] / 2**20),
}


def figures(found: Sequence[dict[str, Any]], title: str) -> str:
    """A table of figures with peers and bounds."""
    rows = [
        [
            figure["name"],
            _value(figure["ours"], figure["unit"]),
            _rate(figure.get("frames_per_second")),
            _value(figure["peer"], figure["unit"]),
            "" if figure["gain"] is None else f"{figure['gain']:.2f}",
            _value(figure["bound"], figure["unit"]),
            "" if figure["share"] is None else f"{figure['share']:.0%}",
        ]
        for figure in found
    ]
    header = ["figure", "here", "frames a second", "peer", "times", "bound", "share"]
    return f"### {title[0].upper()}{title[1:]}\n\n{_table(header, rows)}\n"


def growth(found: Sequence[dict[str, Any]], least: dict[str, int]) -> str:
    """A table of what films of several lengths cost, and a line on the least memory."""
    header = [
        "film",
        "frames",
        "ingest",
        "frames a second",
        "peak",
        "own memory",
        "on disk",
        "index",
    ]
    header += ["first token", "whole ask", "own memory of ask", "blocks fetched"]
    rows = [
        [
            f"{g['hours'] * 60:.0f} min" if g["hours"] < 1 else f"{g['hours']:g} h",
            f"{g['frames']:,}",
            f"{g['ingest_seconds']:.1f} s",
            f"{g['frames'] / g['ingest_seconds']:.0f}",
            _bytes(g["ingest_peak_bytes"]),
            _bytes(g["ingest_own_bytes"]),
            _bytes(g["bytes"]),
            _bytes(g["index_bytes"]),
            f"{1000 * g['first_token_seconds']:.0f} ms",
            f"{g['ask_seconds']:.1f} s",
            _bytes(g["ask_own_bytes"]),
            f"{g['blocks_fetched']:,} of {g['blocks_stored']:,}",
        ]
        for g in found
    ]
    first, last = found[0], found[-1]
    grown = ", ".join(
        f"{last[key] / first[key]:.2f} times the {name}"
        for key, name in {
            "ingest_own_bytes": "own memory of an ingest",
            "ask_own_bytes": "own memory of an ask",
            "first_token_seconds": "time to the first token",
        }.items()
    )
    libraries, weights, window = (_bytes(value) for value in least.values())
    floor = (
        f"No ingest does without {_bytes(sum(least.values()))} of own memory: {libraries} for "
        f"Python and the libraries, {weights} of weights and {window} of window."
    )
    grew = f"{last['hours'] / first['hours']:.0f} times the video takes {grown}."
    return "\n".join([_table(header, rows), "", floor, *([grew] if len(found) > 1 else [])]) + "\n"


def index(found: Sequence[dict[str, Any]]) -> str:
    """A table of what choosing blocks costs in archives of several sizes."""
    header = ["hours", "segments", "index", "segments' keys", "choosing, warm", "one pass", "share"]
    header += ["cold", "memory"]
    rows = [
        [
            f"{g['hours']:,}",
            f"{g['segments']:,}",
            _bytes(g["index_bytes"]),
            _bytes(g["key_bytes"]),
            _value([g["warm_seconds"]], "s"),
            _value([g["one_pass_seconds"]], "s"),
            f"{g['one_pass_seconds'] / g['warm_seconds']:.0%}",
            _value([g["cold_seconds"]], "s"),
            _bytes(g["peak_bytes"]),
        ]
        for g in found
    ]
    return _table(header, rows) + "\n"


def write(found: dict[str, Any], docs: Path, begin: str, end: str) -> None:
    """Put tables, plot and JSON into the docs folder."""
    (docs / "performance.json").write_text(json.dumps(found, indent=1) + "\n")
    parts = [f"Measured on {found['machine']}, commit {found['commit']}.\n"]
    titles = {"demo": "demo model, ten minutes", "llava-0.5b": "0.5B shape, random weights"}
    parts += [figures(each, titles.get(name, name)) for name, each in found["figures"].items()]
    parts.append("### Growth\n\n![Cost over hours of video](growth.svg)\n")
    parts.append(growth(found["growth"], found["memory"]))
    if found["index"]:
        parts.append("### Choosing blocks in an archive\n")
        parts.append(index(found["index"]))
    page = docs / "performance.md"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n\n" + "\n".join(parts) + f"\n{end}{rest.split(end)[1]}")
    if len(found["growth"]) > 1:
        (docs / "growth.svg").write_text(plot(found["growth"]))


def plot(found: Sequence[dict[str, Any]]) -> str:
    """Costs over hours, both logarithmic, so that what is proportional is a slope of one."""
    values = {name: [of(g) for g in found] for name, (_, of) in LINES.items()}
    low = log10(min(min(v) for v in values.values())) - 0.1
    high = log10(max(max(v) for v in values.values())) + 0.1
    first, last = log10(found[0]["hours"]), log10(found[-1]["hours"])

    def x(hours: float) -> float:
        return LEFT + (log10(hours) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - log10(value)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 18, "What hours of video cost (demo model)", "start", "#37352f", True)]
    for power in range(round(low), round(high) + 1):
        if low <= power <= high:
            at = y(10**power)
            parts.append(_line([(LEFT, at), (WIDTH - RIGHT, at)], "#e3e2e0"))
            parts.append(_text(LEFT - 8, at + 4, f"{10**power:g}", "end", "#37352f"))
    for g in found:
        label = f"{g['hours'] * 60:.0f} min" if g["hours"] < 1 else f"{g['hours']:g} h"
        parts.append(_text(x(g["hours"]), HEIGHT - BOTTOM + 20, label, "middle", "#37352f"))
    for name, (colour, _) in LINES.items():
        points = [(x(g["hours"]), y(v)) for g, v in zip(found, values[name], strict=True)]
        parts.append(_line(points, colour, 2))
        parts.append(_text(points[-1][0] + 10, points[-1][1] + 4, name, "start", colour))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _line(points: Sequence[tuple[float, float]], colour: str, width: int = 1) -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}'
    return f"<text {place}>{escape(text)}</text>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _value(values: Sequence[float] | None, unit: str) -> str:
    if not values:
        return ""
    middle = median(values)
    if unit == "bytes/h":
        return _bytes(middle)
    return f"{middle:.2f} s" if middle >= 1 else f"{1000 * middle:.3g} ms"


def _rate(frames: float | None) -> str:
    return "" if frames is None else f"{frames:,.0f}" if frames >= 10 else f"{frames:.2g}"


def _bytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{size / 2**30:,.2f} GiB"
