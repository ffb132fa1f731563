"""Write a tiny LLaVA-OneVision checkpoint with random weights, of the real classes.

Its words mean nothing: it exists to see the machinery run, in seconds and without a download.

    python examples/tiny_checkpoint.py /tmp/tiny
    streamkv ingest tests/data/scenes.mp4 --model /tmp/tiny
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.utils import logging

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]

TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% for part in message['content'] %}\
{% if part['type'] == 'video' %}<video>{% endif %}\
{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}\
{% endfor %}<|im_end|>
{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes, so that any text has tokens, with Qwen's control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<image>", "<video>"],
    )
    fast.chat_template = TEMPLATE
    return fast


def write_tiny_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    layers: int = 3,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    image_size: int = 56,
    patch_size: int = 14,
    vision_hidden: int = 32,
    max_shard_size: str = "5GB",
) -> Path:
    """Save a random model of the given shape with tokenizer and processor configuration.

    Args:
        folder: created if need be.
        layers, hidden, heads, kv_heads: of the text model.
        image_size, patch_size: of the vision tower, pixels. Tokens a frame:
            ceil(image_size // patch_size / 2) squared.
        vision_hidden: width of the vision tower.
    """
    words = tokenizer()
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=vision_hidden,
            intermediate_size=2 * vision_hidden,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=image_size,
            patch_size=patch_size,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            vocab_size=len(words),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
    )
    torch.manual_seed(seed)
    model = LlavaOnevisionForConditionalGeneration(config).eval()
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
        json.dumps(
            {
                "do_resize": True,
                "resample": 3,
                "size": {"height": image_size, "width": image_size},
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.5, 0.5, 0.5],
                "video_processor_type": "LlavaOnevisionVideoProcessor",
            },
            indent=2,
        )
    )
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(write_tiny_checkpoint(arguments.folder, seed=arguments.seed))
