"""Configurations of tiny models, one function a family, for `tiny_checkpoint.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import (
    InternVLConfig,
    LlavaOnevisionConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen3VLConfig,
    SiglipVisionConfig,
)


@dataclass(frozen=True)
class Size:
    """How large a tiny model is.

    Attributes:
        layers, hidden, heads, kv_heads: of the text model.
        image_size, patch_size: of the vision tower, pixels.
        vision_hidden: width of the vision tower.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    image_size: int
    patch_size: int
    vision_hidden: int

    @property
    def head_dim(self) -> int:
        """Size of a head of the text model."""
        return self.hidden // self.heads


def llava_onevision(size: Size, words: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """SigLIP, and a Qwen2 that sees ceil(image_size // patch_size / 2) squared tokens a frame."""
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=size.vision_hidden,
            intermediate_size=2 * size.vision_hidden,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=size.image_size,
            patch_size=size.patch_size,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(**_text(size, words)),
        image_token_index=_id(words, "<image>"),
        video_token_index=_id(words, "<video>"),
    )


def qwen2_5_vl(size: Size, words: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """A tower with windows of 2 x 2 merged patches in all layers but the last."""
    vision = {
        "depth": 3,
        "hidden_size": size.vision_hidden,
        "intermediate_size": 2 * size.vision_hidden,
        "num_heads": 2,
        "patch_size": size.patch_size,
        "window_size": 4 * size.patch_size,
        "fullatt_block_indexes": [2],
        "out_hidden_size": size.hidden,
        "tokens_per_second": 2,
    }
    rope = {
        "rope_type": "default",
        "rope_theta": 1e6,
        "mrope_section": _sections(size.head_dim // 2),
    }
    return Qwen2_5_VLConfig(
        vision_config=vision,
        text_config={**_text(size, words), "rope_parameters": rope},
        **_qwen_tokens(words),
    )


def qwen3_vl(size: Size, words: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """Features of two tower layers go into the first two text layers as well."""
    vision = {
        "depth": 3,
        "hidden_size": size.vision_hidden,
        "intermediate_size": 2 * size.vision_hidden,
        "num_heads": 2,
        "patch_size": size.patch_size,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
        "out_hidden_size": size.hidden,
    }
    rope = {
        "rope_type": "default",
        "rope_theta": 1e6,
        "mrope_interleaved": True,
        "mrope_section": _sections(size.head_dim // 2),
    }
    text = {**_text(size, words), "head_dim": size.head_dim, "rope_parameters": rope}
    return Qwen3VLConfig(vision_config=vision, text_config=text, **_qwen_tokens(words))


def internvl(size: Size, words: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """InternViT with pixel shuffle, (image_size // patch_size / 2) squared tokens a frame."""
    return InternVLConfig(
        vision_config={
            "hidden_size": size.vision_hidden,
            "intermediate_size": 2 * size.vision_hidden,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [size.image_size] * 2,
            "patch_size": [size.patch_size] * 2,
        },
        text_config={"model_type": "qwen2", **_text(size, words)},
        image_token_id=_id(words, "<IMG_CONTEXT>"),
        image_seq_length=(size.image_size // size.patch_size // 2) ** 2,
        tie_word_embeddings=False,
    )


def _text(size: Size, words: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "vocab_size": len(words),
        "hidden_size": size.hidden,
        "intermediate_size": 2 * size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }


def _qwen_tokens(words: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "image_token_id": _id(words, "<|image_pad|>"),
        "video_token_id": _id(words, "<|video_pad|>"),
        "vision_start_token_id": _id(words, "<|vision_start|>"),
        "vision_end_token_id": _id(words, "<|vision_end|>"),
    }


def _id(words: PreTrainedTokenizerBase, token: str) -> int:
    found = words.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found


def _sections(half: int) -> list[int]:
    """Frequencies for time, height and width: about a quarter and two times three eighths."""
    spatial = half * 3 // 8
    return [half - 2 * spatial, spatial, spatial]


@dataclass(frozen=True)
class Tiny:
    """A family as the writer knows it.

    Attributes:
        config: makes its configuration.
        video: how its chat template shows a video.
        control: control tokens besides those of the chat.
        processor: what its video processor is called.
        patch_size: of the vision tower.
    """

    config: Callable[[Size, PreTrainedTokenizerBase], PreTrainedConfig]
    video: str
    control: tuple[str, ...]
    processor: str
    patch_size: int = 14


_QWEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_QWEN_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"

FAMILIES = {
    "llava_onevision": Tiny(
        llava_onevision, "<video>", ("<image>", "<video>"), "LlavaOnevisionVideoProcessor"
    ),
    "qwen2_5_vl": Tiny(qwen2_5_vl, _QWEN_VIDEO, _QWEN, "Qwen2VLVideoProcessor"),
    "qwen3_vl": Tiny(qwen3_vl, _QWEN_VIDEO, _QWEN, "Qwen3VLVideoProcessor", patch_size=16),
    "internvl": Tiny(
        internvl,
        "<video>\n",
        ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        "InternVLVideoProcessor",
    ),
}
