"""Which frames of a segment are kept as thumbnails, decided while they stream by."""

from streamkv_cli.video import Frame
from streamkv_cli.video.thumbnail import thumbnail, thumbnail_name

STEP = 8
"""Blocks from one thumbnail of a segment to the next, in a segment that is not long."""

MOST = 8
"""Thumbnails of a segment; beyond, every other one goes, and they lie twice as far apart."""


class Thumbnails:
    """Thumbnails of the open segment: of its second block and of every `STEP`-th from there on.

    What is picked depends on the segment's own frames alone, so a resumed ingest picks the same;
    the first frame after a cut is often still half in the scene before, so it is the last resort.
    """

    def __init__(self) -> None:
        self._count = 0
        self._step = STEP
        self._first: Frame | None = None
        self._pictures: dict[int, tuple[str, bytes]] = {}

    def add(self, frame: Frame) -> None:
        """Take the first frame of the segment's next block."""
        if self._count == 0:
            self._first = frame
        elif self._count % self._step == 1:
            self._first = None
            self._pictures[self._count] = thumbnail_name(frame.time), thumbnail(frame.pixels)
            if len(self._pictures) > MOST:
                self._step *= 2
                self._pictures = {
                    count: picture
                    for count, picture in self._pictures.items()
                    if count % self._step == 1
                }
        self._count += 1

    def take(self) -> dict[str, bytes]:
        """JPEGs of the segment that has ended, by name; begins the next one."""
        pictures = dict(self._pictures.values())
        if self._first is not None:
            pictures[thumbnail_name(self._first.time)] = thumbnail(self._first.pixels)
        self._count, self._step, self._first, self._pictures = 0, STEP, None, {}
        return pictures
