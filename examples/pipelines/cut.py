"""Cut seconds out of videos without encoding them again.

Reads JSON lines with `source`, `start` and `end` (seconds) and writes one clip for each:

    ... | python cut.py clips/

A clip begins with the last key picture before `start`, because only there can a video be cut.
"""

import json
import sys
from pathlib import Path

import av


def cut(source: Path, start: float, end: float, folder: Path) -> Path:
    """Copy the packets of some seconds into a file of their own; returns it."""
    target = folder / f"{source.stem}_{start:.1f}-{end:.1f}{source.suffix}"
    with av.open(str(source)) as whole, av.open(str(target), "w") as clip:
        picture = whole.streams.best("video")
        if picture is None or picture.time_base is None:
            sys.exit(f"{source} holds no video")
        stream = clip.add_stream_from_template(picture)
        tick = float(picture.time_base)
        zero = picture.start_time or 0
        whole.seek(int(start / tick) + zero, stream=picture)
        first = None
        for packet in whole.demux(picture):
            if packet.dts is None or packet.pts is None:
                continue
            if first is None:
                first = packet.dts
            if packet.is_keyframe and (packet.pts - zero) * tick >= end:
                break
            packet.pts -= first
            packet.dts -= first
            packet.stream = stream
            clip.mux(packet)
            if (packet.dts + first - zero) * tick >= end:
                break
    return target


def main() -> None:
    """Cut what standard input asks for."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        source, start, end = Path(wanted["source"]), wanted["start"], wanted["end"]
        print(cut(source, start, end, folder), source, start, end, sep="\t", flush=True)


if __name__ == "__main__":
    main()
