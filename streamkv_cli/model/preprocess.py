"""Frames as the checkpoint's own processor would prepare them, without torchvision.

torchvision resizes with torch's antialiased interpolation; calling that directly gives the same
pixels. Values are read from the checkpoint's processor configuration, never assumed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamkv_cli.errors import ModelError

# PIL's numbers for its filters, as the configuration files write them. torchvision replaces
# Lanczos (1) by bicubic.
_FILTERS = {0: "nearest-exact", 1: "bicubic", 2: "bilinear", 3: "bicubic"}
_FILES = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Preprocessing:
    """Resize, rescale and normalise, as a checkpoint's processor configuration says.

    Attributes:
        height, width: size every frame is resized to, unless the caller knows better.
        filter: torch's name of the resize filter; None where the configuration says no resize.
        scale: factor on pixel values, 1/255 as a rule; None for none.
        mean, std: per channel, None for no normalisation.
    """

    height: int
    width: int
    filter: str | None
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def __call__(
        self,
        frames: Sequence[np.ndarray],
        device: torch.device,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Frames uint8 [H, W, 3], all of one size -> float32 [T, 3, height, width] on `device`.

        Args:
            size: height and width, where they depend on the frames.
        """
        stacked = torch.from_numpy(np.stack(frames)).to(device).permute(0, 3, 1, 2)
        pixels = self._resized(stacked, size or (self.height, self.width)).float()
        scale = self.scale if self.scale is not None else 1.0
        if self.mean is None or self.std is None:
            return pixels * scale
        # Rescaling folded into mean and std, in the order torchvision's processors compute it.
        mean = torch.tensor(self.mean, device=device).view(-1, 1, 1) * (1.0 / scale)
        std = torch.tensor(self.std, device=device).view(-1, 1, 1) * (1.0 / scale)
        return (pixels - mean) / std

    def _resized(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        if self.filter is None or frames.shape[-2:] == size:
            return frames
        if self.filter == "nearest-exact":
            return F.interpolate(frames, size, mode=self.filter)
        if frames.device.type == "cpu":
            # torch's own uint8 kernel: rounds as torchvision does on a CPU, and is the fastest.
            return F.interpolate(frames, size, mode=self.filter, antialias=True)
        resized = F.interpolate(frames.float(), size, mode=self.filter, antialias=True)
        return resized.round_().clamp_(0, 255)


def load_preprocessing(folder: Path) -> Preprocessing:
    """Read how a checkpoint wants its video frames prepared.

    Raises:
        ModelError: no processor configuration, or one that asks for what is not supported.
    """
    config = video_processor_config(folder)
    if config.get("do_center_crop"):
        raise ModelError(
            f"the processor of {folder} crops frames, which is not supported",
            "use a checkpoint whose video processor only resizes",
        )
    size = config.get("size") or {"height": 384, "width": 384}
    if "height" not in size:
        side = size.get("shortest_edge", 0)  # 0 where sizes are dynamic
        size = {"height": side, "width": side}
    normalised = config.get("do_normalize", True)
    return Preprocessing(
        height=int(size["height"]),
        width=int(size["width"]),
        filter=_FILTERS[int(config.get("resample", 3))] if config.get("do_resize", True) else None,
        scale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", 1) else None,
        mean=tuple(config["image_mean"]) if normalised else None,
        std=tuple(config["image_std"]) if normalised else None,
    )


def video_processor_config(folder: Path) -> dict[str, Any]:
    """The video processor's values; nested since transformers 5, in a file of their own before."""
    for name in _FILES:
        path = folder / name
        if not path.is_file():
            continue
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(
                f"{path} is not valid JSON ({error})", "download the model again"
            ) from None
        if name == "processor_config.json":
            config = config.get("video_processor") or config.get("image_processor")
        if config and "image_mean" in config:
            return dict(config)
    raise ModelError(
        f"{folder} has no video processor configuration ({' or '.join(_FILES)})",
        "the download is incomplete; fetch the model again",
    )
