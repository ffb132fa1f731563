"""Write a trained model as a checkpoint folder that the program loads like any other."""

import json
from pathlib import Path
from typing import Any

import torch

from .network import SIDE

PROCESSOR = {
    "do_resize": True,
    "resample": 3,
    "size": {"height": SIDE, "width": SIDE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "video_processor_type": "LlavaOnevisionVideoProcessor",
}


def export(model: Any, words: Any, folder: Path) -> Path:
    """Save weights in bfloat16, tokenizer, chat template and processor settings.

    The model given is left in bfloat16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    # safetensors writes for the owner alone; this file is shipped.
    (folder / "model.safetensors").chmod(0o644)
    words.save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2) + "\n")
    return folder
