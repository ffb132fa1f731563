"""Needs told from config.json against the real classes, built without memory."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from streamkv_cli.errors import ModelError
from streamkv_cli.model.needs import needs_of

QWEN2 = {
    "model_type": "qwen2",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "vocab_size": 152000,
}
QWEN2_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "image_size": 384,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 26,
    "patch_size": 14,
    "vision_use_head": False,
}
QWEN_TOWER = {
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_heads": 16,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "LLaVA-OneVision 0.5B": {
        "model_type": "llava_onevision",
        "text_config": QWEN2 | {"tie_word_embeddings": True},
        "vision_config": SIGLIP,
    },
    "LLaVA-OneVision 7B": {
        "model_type": "llava_onevision",
        "text_config": {"model_type": "qwen2"} | QWEN2_7B,
        "vision_config": SIGLIP,
    },
    "Qwen2.5-VL 7B, written flat": {
        "model_type": "qwen2_5_vl",
        **QWEN2_7B,
        "vision_config": QWEN_TOWER
        | {
            "depth": 32,
            "hidden_act": "silu",
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "out_hidden_size": 3584,
        },
    },
    "Qwen3-VL 4B": {
        "model_type": "qwen3_vl",
        "tie_word_embeddings": True,
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_attention_heads": 32,
            "num_hidden_layers": 36,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
        },
        "vision_config": QWEN_TOWER
        | {
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "out_hidden_size": 2560,
            "patch_size": 16,
            "deepstack_visual_indexes": [5, 11, 17],
        },
    },
    "InternVL3 1B": {
        "model_type": "internvl",
        "tie_word_embeddings": True,
        "text_config": QWEN2,
        "vision_config": {
            "hidden_size": 1024,
            "image_size": [448, 448],
            "intermediate_size": 4096,
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "patch_size": [14, 14],
        },
    },
}
TOKEN_BYTES = dict(zip(CONFIGS, (12_288, 57_344, 57_344, 147_456, 12_288), strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_real_class(name: str) -> None:
    config = CONFIGS[name]
    needs = needs_of(name, config)
    known = dict(config)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(
            AutoConfig.for_model(known.pop("model_type"), **known)
        )
    real = sum(weight.numel() for weight in model.parameters())
    assert needs.parameters == pytest.approx(real, rel=0.01)
    assert needs.token_bytes == TOKEN_BYTES[name]


def test_an_hour_of_the_published_models() -> None:
    """The figures of the README."""
    small, large = (needs_of(name, CONFIGS[name]) for name in list(CONFIGS)[:2])
    assert round(small.hour_bytes(0.5) / 2**30, 2) == 4.04
    assert round(large.hour_bytes(0.5) / 2**30, 2) == 18.84
    assert round(large.block_bytes / 2**20, 2) == 10.72
    assert large.memory_bytes(15_000, 0) == large.weights_bytes + 15_000 * 57_344


def test_what_a_configuration_leaves_out_is_its_classes_default() -> None:
    known = CONFIGS["LLaVA-OneVision 7B"]
    short = dict(known["vision_config"])
    del short["intermediate_size"], short["num_attention_heads"]
    needs = needs_of("x", known | {"vision_config": short})
    assert needs.parameters < needs_of("x", known).parameters  # the default is another tower
    assert needs.token_bytes == 57_344


def test_other_models_are_refused_with_the_list() -> None:
    with pytest.raises(ModelError, match=r"bert.*internvl, llava_onevision, qwen2_5_vl, qwen3_vl"):
        needs_of("x", {"model_type": "bert"})
