"""Write a tiny checkpoint with random weights, of the real classes of a family.

Its words mean nothing: it exists to see the machinery run, in seconds and without a download.

    python -m examples.tiny_checkpoint /tmp/tiny
    python -m examples.tiny_checkpoint /tmp/tiny-qwen --family qwen2_5_vl
    streamkv ingest examples/demo.mp4 --model /tmp/tiny
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast
from transformers.utils import logging

from examples.tiny_families import FAMILIES, Size

TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% for part in message['content'] %}\
{% if part['type'] == 'video' %}<video>{% endif %}\
{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}\
{% endfor %}<|im_end|>
{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tokenizer(family: str = "llava_onevision") -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes, so that any text has tokens, with a family's control tokens."""
    tiny = FAMILIES[family]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", *tiny.control],
    )
    fast.chat_template = TEMPLATE.replace("<video>", tiny.video)
    return fast


def write_tiny_checkpoint(
    folder: Path,
    *,
    family: str = "llava_onevision",
    seed: int = 0,
    layers: int = 3,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    image_size: int = 56,
    patch_size: int | None = None,
    vision_hidden: int = 32,
    max_shard_size: str = "5GB",
) -> Path:
    """Save a random model of the given shape with tokenizer and processor configuration.

    Args:
        folder: created if need be.
        family: config.json's model_type.
        layers, hidden, heads, kv_heads: of the text model.
        image_size, patch_size: of the vision tower, pixels; families that take pictures of any
            size have no image size.
        vision_hidden: width of the vision tower.
    """
    tiny = FAMILIES[family]
    words = tokenizer(family)
    patch_size = patch_size or tiny.patch_size
    size = Size(layers, hidden, heads, kv_heads, image_size, patch_size, vision_hidden)
    config = tiny.config(size, words)
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # The default initialisation is so small that every answer would be alike.
            if weight.dim() > 1:
                weight.normal_(std=weight.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                weight.normal_(std=0.5)
        # Only printable characters can win, so that an answer is at least something to look at.
        printable = {words.convert_tokens_to_ids(chr(c)) for c in range(33, 127)}
        for token in range(len(words)):
            if token not in printable:
                model.lm_head.weight[token] = 0
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable_progress_bar()
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    words.save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps(_processor(family, size), indent=2)
    )
    return folder


def _processor(family: str, size: Size) -> dict[str, object]:
    """The video processor's configuration, as published checkpoints have it."""
    common = {
        "do_resize": True,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "video_processor_type": FAMILIES[family].processor,
    }
    if not family.startswith("qwen"):
        return {**common, "size": {"height": size.image_size, "width": size.image_size}}
    area = (2 * size.patch_size) ** 2
    return {
        **common,
        "size": {"shortest_edge": 4 * area, "longest_edge": 16384 * area},
        "patch_size": size.patch_size,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", choices=FAMILIES, default="llava_onevision")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(write_tiny_checkpoint(arguments.folder, family=arguments.family, seed=arguments.seed))
