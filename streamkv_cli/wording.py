"""How times, sizes, numbers and names are written for people."""


def time_text(seconds: float | None) -> str:
    """Seconds as m:ss or h:mm:ss; a dash for unknown."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    clock = f"{minutes}:{whole % 60:02}"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else clock


def hourly(count: int, seconds: float) -> float:
    """Bytes an hour of video; 0 where there is no video to speak of."""
    return count / seconds * 3600 if seconds > 0 else 0.0


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 segment, 2 segments."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def span_text(start: float, end: float) -> str:
    """A stretch of video as m:ss-m:ss, with tenths where whole seconds would hide it."""
    if start == int(start) and end == int(end):
        return f"{time_text(start)}-{time_text(end)}"
    return "-".join(f"{time_text(t)}.{int(t * 10 + 1e-6) % 10}" for t in (start, end))


def bytes_text(count: float) -> str:
    """Bytes in binary units, three significant digits."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1000 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"


def escaped(text: str, keep: str = "") -> str:
    """Text with control characters made visible: a file name may hold any of them."""
    return "".join(c if c in keep or c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
