"""The demo model's shape: LLaVA-OneVision's own classes, a few million parameters."""

from typing import Any

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

SIDE, PATCH = 48, 12
"""Pixels of a frame and of a patch: 4 x 4 patches, pooled to 2 x 2 tokens a frame."""
TOKENS = 4
HIDDEN, LAYERS, HEADS, KV_HEADS, MLP = 192, 4, 4, 2, 384
HEAD_DIM = HIDDEN // HEADS


def build(words: Any, seed: int) -> LlavaOnevisionForConditionalGeneration:
    """A new model for a tokenizer."""
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=SIDE,
            patch_size=PATCH,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            vocab_size=len(words),
            hidden_size=HIDDEN,
            intermediate_size=MLP,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            max_position_embeddings=32768,
            initializer_range=0.05,
            # As in Qwen2: most dimensions of a head turn so slowly that content is matched afar.
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            tie_word_embeddings=True,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        ),
        tie_word_embeddings=True,
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
    )
    torch.manual_seed(seed)
    model: Any = LlavaOnevisionForConditionalGeneration(config)
    for layer in model.model.language_model.layers:
        _look_alike(layer.self_attn)
    with torch.no_grad():
        # Rows of length about 1: the tower is trained to speak in sums of these very words.
        model.get_input_embeddings().weight.normal_(std=HIDDEN**-0.5)
        model.model.image_newline.normal_(std=HIDDEN**-0.5)
    built: LlavaOnevisionForConditionalGeneration = model
    return built


@torch.no_grad()
def _look_alike(attention: Any) -> None:
    """Let the first half of the heads begin by finding and copying what is alike.

    Queries and keys of a group start as one projection, values and outputs as another and its
    transpose ("mimetic initialisation", arXiv 2305.09828): looking up a word is then there from
    the start, instead of being found after thousands of steps.
    """
    share = HEADS // KV_HEADS
    like = torch.linalg.qr(torch.randn(HIDDEN, HEAD_DIM)).Q.T
    copy = torch.linalg.qr(torch.randn(HIDDEN, HEAD_DIM)).Q.T
    attention.k_proj.weight[:HEAD_DIM] = like
    attention.v_proj.weight[:HEAD_DIM] = copy
    for head in range(share):
        rows = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        attention.q_proj.weight[rows] = like
        attention.o_proj.weight[:, rows] = 0.5 * copy.T


def normalised(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 [N, height, width, 3] -> [N, 3, height, width] in -1 to 1, as the processor does."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0
