"""Dynamic resolution: how large a picture of any size is shown to a tower that takes any grid.

The rule is that of the Qwen-VL processors: both sides a multiple of the merged patch, the area
between two bounds, the aspect ratio as near to the original as that allows. Their upper bound is
made for single pictures or whole videos; here it is the number of tokens that one block may have.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from streamkv_cli.errors import ModelError, VideoError
from streamkv_cli.model.preprocess import video_processor_config

_WIDEST = 200


@dataclass(frozen=True)
class Resolution:
    """A tower's patches and the bounds of a picture.

    Attributes:
        patch: side of a patch, pixels.
        merge: patches a side that become one visual token.
        frames: frames that become one temporal patch.
        least: pixels of the smallest picture.
        tokens: most visual tokens of a picture.
        enlarge: a picture smaller than one visual token is first enlarged to it.
    """

    patch: int
    merge: int
    frames: int
    least: int
    tokens: int
    enlarge: bool = False

    @property
    def unit(self) -> int:
        """Pixels a side of one visual token."""
        return self.patch * self.merge

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture of this height and width is resized to.

        Raises:
            VideoError: a picture so narrow that no grid comes near its shape.
        """
        if max(height, width) > _WIDEST * min(height, width):
            raise VideoError(
                f"a picture of {width}x{height} is too narrow for this model",
                f"the longer side may be {_WIDEST} times the shorter one",
            )
        unit, most = self.unit, self.tokens * self.unit**2
        if self.enlarge and min(height, width) < unit:
            scale = max(unit / height, unit / width)
            height, width = int(height * scale), int(width * scale)
        least = min(self.least, most)
        rows, columns = round(height / unit), round(width / unit)
        if rows * columns * unit**2 > most:
            shrink = math.sqrt(height * width / most)
            rows = max(1, math.floor(height / shrink / unit))
            columns = max(1, math.floor(width / shrink / unit))
        elif rows * columns * unit**2 < least:
            grow = math.sqrt(least / (height * width))
            rows = math.ceil(height * grow / unit)
            columns = math.ceil(width * grow / unit)
        return rows * unit, columns * unit


def load_resolution(
    folder: Path,
    patch: int,
    merge: int,
    frames: int,
    tokens: int,
    least: int,
    enlarge: bool = False,
) -> Resolution:
    """Read a checkpoint's bounds.

    Args:
        patch, merge, frames: of the tower, from config.json.
        tokens: the budget of a block.
        least: the family's smallest picture, where the processor configuration names none.
        enlarge: as in `Resolution`.

    Raises:
        ModelError: the processor's patches are not the tower's.
    """
    config = video_processor_config(folder)
    for name, own in (
        ("patch_size", patch),
        ("merge_size", merge),
        ("temporal_patch_size", frames),
    ):
        if config.get(name, own) != own:
            raise ModelError(
                f"the processor of {folder} has {name} {config[name]}, its vision tower {own}",
                "its configuration files do not belong together; fetch the model again",
            )
    size = config.get("size") or {}
    bound = config.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or least
    return Resolution(patch, merge, frames, int(bound), tokens, enlarge)
