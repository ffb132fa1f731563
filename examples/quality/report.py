"""Tables of what was measured, for the terminal and for docs/quality.md."""

from collections.abc import Sequence
from pathlib import Path

from .chart import chart
from .results import Cell, Total, interval, totals
from .settings import ABLATED

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write_report(cells: Sequence[Cell], folder: Path | None) -> str:
    """The tables as Markdown; with a folder, also into its quality.md and quality.svg.

    In quality.md, what stands between two marks is replaced; the words around it are kept.
    """
    text = "\n\n".join(sections(cells))
    if folder is not None:
        page = folder / "quality.md"
        old = page.read_text() if page.exists() else f"{BEGIN}\n{END}\n"
        before, rest = old.split(BEGIN, 1)
        after = rest.split(END, 1)[1]
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
        ten = totals(cells, length="10 min", group="compared")
        if ten:
            picture = chart(ten, "Right answers, films of ten minutes")
            (folder / "quality.svg").write_text(picture)
    return text


def sections(cells: Sequence[Cell]) -> list[str]:
    """A heading and a table for each length of film and time of asking, and the ablations."""
    found = []
    for length in ("10 min", "1 h", "10 h"):
        for asked in ("right after", "long after"):
            for group in ("compared", "ablation"):
                some = totals(cells, length=length, asked=asked, group=group)
                if not some:
                    continue
                if group == "ablation":
                    base = totals(cells, length=length, asked=asked, row="default")
                    some = [row for row in base if row.keep == ABLATED] + some
                films, questions = some[0].films, some[0].asked
                title = {
                    "10 min": f"Ten minutes ({films} films, {questions} questions)",
                    "1 h": "The first ten minutes of an hour",
                    "10 h": "The first hour of ten",
                }[length]
                if length != "10 min":
                    title += f", asked {asked} ({films} films, {questions} questions)"
                if group == "ablation":
                    title += ": the default with one part changed"
                found.append(f"### {title}\n\n{table(some)}")
    return found


def table(rows: Sequence[Total]) -> str:
    """A Markdown table; bytes are also given as a share of full KV's where that was measured."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.kinds))
    full = next((row.bytes_per_hour for row in rows if row.row == "full KV"), None)
    heads = ["row", "keep", "blocks stored", "MB/h"]
    heads += ["of full KV"] if full else []
    heads += ["fetched a layer", "right", "95 %", *kinds]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in sorted(rows, key=lambda r: (_order(rows, r.row), -r.keep)):
        least, most = interval(row.right, row.asked)
        values = [
            row.row,
            f"{row.keep:g}",
            f"{100 * row.kept / row.frames:.1f} %",
            f"{row.bytes_per_hour / 1e6:.2f}",
        ]
        values += [f"{100 * row.bytes_per_hour / full:.1f} %"] if full else []
        values += [
            f"{row.fetched / row.asked:.1f}",
            f"{100 * row.accuracy:.1f} %",
            f"{100 * least:.0f} to {100 * most:.0f}",
        ]
        for kind in kinds:
            right, asked = row.kinds.get(kind, (0, 0))
            values.append(f"{100 * right / asked:.0f}" if asked else "")
        lines.append("| " + " | ".join(values) + " |")
    return "\n".join(lines)


def _order(rows: Sequence[Total], name: str) -> int:
    return list(dict.fromkeys(row.row for row in rows)).index(name)
