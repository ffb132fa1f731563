"""What a model would need, from its config.json alone: nothing is loaded or heavy to import."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamkv_cli.errors import ModelError
from streamkv_cli.model.families import FAMILIES

_HALF = 2
"""Bytes of a number in bfloat16 or float16."""

_WORDS = {"qwen3_vl": 14, "internvl": 13}
"""Slots a block has for words around its picture, in the tokenizers of the published models."""


@dataclass(frozen=True)
class Needs:
    """Sizes of a model, in bfloat16 or float16.

    Attributes:
        family: config.json's model_type.
        parameters: of all parts, to about a hundredth.
        layers, kv_heads, head_dim: of the text model.
        block_tokens: tokens of one block, at most.
        frames: sampled frames that make one block.
    """

    family: str
    parameters: int
    layers: int
    kv_heads: int
    head_dim: int
    block_tokens: int
    frames: int

    @property
    def weights_bytes(self) -> int:
        """Memory of the weights."""
        return self.parameters * _HALF

    @property
    def token_bytes(self) -> int:
        """KV of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * _HALF

    @property
    def block_bytes(self) -> int:
        """KV of one block in all layers."""
        return self.token_bytes * self.block_tokens

    def memory_bytes(self, window: int, blocks: int) -> int:
        """Memory to ingest and ask: weights, and the larger of window and fetched blocks."""
        return self.weights_bytes + max(window * self.token_bytes, blocks * self.block_bytes)

    def hour_bytes(self, fps: float) -> int:
        """KV of an hour of video before compression."""
        return round(3600 * fps / self.frames * self.block_bytes)


def needs_of(source: str, config: dict[str, Any]) -> Needs:
    """Read a configuration.

    Raises:
        ModelError: the family is not supported, or a size is missing.
    """
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise ModelError(
            f"{source} is a {family} model, which is not supported",
            f"supported: {', '.join(sorted(FAMILIES))}",
        )
    try:
        return _needs(family, config)
    except (KeyError, TypeError, ValueError):
        pass
    try:
        return _needs(family, _with_defaults(config))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"the config.json of {source} does not tell the model's size ({error!r})",
            "fetch the model again",
        ) from None


def read_config(path: Path) -> dict[str, Any]:
    """A config.json; empty where there is none to be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with what it leaves to its class; imports transformers."""
    from transformers import AutoConfig

    known = dict(config)
    full: dict[str, Any] = AutoConfig.for_model(known.pop("model_type"), **known).to_dict()
    return full


def _needs(family: str, config: dict[str, Any]) -> Needs:
    text, vision = config.get("text_config") or config, config["vision_config"]
    heads = text["num_attention_heads"]
    head_dim = text.get("head_dim") or text["hidden_size"] // heads
    known = FAMILIES[family]
    picture = known.frame_tokens or _picture_tokens(family, config, vision)
    return Needs(
        family=family,
        parameters=_text_parameters(config, text, head_dim)
        + _vision_parameters(vision, text["hidden_size"]),
        layers=text["num_hidden_layers"],
        kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        block_tokens=picture + _WORDS.get(family, 0),
        frames=known.frames,
    )


def _picture_tokens(family: str, config: dict[str, Any], vision: dict[str, Any]) -> int:
    side = _one(vision["image_size"]) // _one(vision["patch_size"])
    if family == "internvl":
        return int(side * float(config.get("downsample_ratio", 0.5))) ** 2
    pooled = -(-side // 2)
    return pooled * pooled


def _text_parameters(config: dict[str, Any], text: dict[str, Any], head_dim: int) -> int:
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    kv_heads = text.get("num_key_value_heads") or heads
    attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
    layer = attention + 3 * hidden * text["intermediate_size"]
    tied = config.get("tie_word_embeddings") or text.get("tie_word_embeddings")
    return text["num_hidden_layers"] * layer + (1 if tied else 2) * text["vocab_size"] * hidden


def _vision_parameters(vision: dict[str, Any], text_hidden: int) -> int:
    hidden, patch = vision["hidden_size"], _one(vision["patch_size"])
    depth = vision.get("depth") or vision["num_hidden_layers"]
    frames = _one(vision.get("temporal_patch_size", 1))
    gated = vision.get("hidden_act") == "silu"  # Qwen2.5-VL's gate beside up and down
    mlp = (3 if gated else 2) * hidden * vision["intermediate_size"]
    merged = hidden * vision.get("spatial_merge_size", 1) ** 2
    merger = merged * (merged + text_hidden) if merged > hidden else 2 * hidden * text_hidden
    mergers = 1 + len(vision.get("deepstack_visual_indexes") or ())
    embedding = 3 * frames * patch**2 * hidden
    return int(depth * (4 * hidden**2 + mlp) + mergers * merger + embedding)


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)
