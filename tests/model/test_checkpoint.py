"""A checkpoint that is missing, half there or unsupported is one clear line."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from examples.tiny_checkpoint import write_tiny_checkpoint
from streamkv_cli.errors import ModelError, StreamKVError, UsageError
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import FOUR_BIT, choose_placement
from streamkv_cli.model.families import FAMILIES
from streamkv_cli.model.loading import load_model


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def load(folder: Path) -> object:
    return load_model(find_checkpoint(str(folder)), choose_placement("cpu"))


def refuse(folder: Path | str) -> str:
    with pytest.raises(StreamKVError) as caught:
        load(Path(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sharded_weights_load_and_have_the_same_fingerprint(tmp_path: Path) -> None:
    whole = write_tiny_checkpoint(tmp_path / "whole", seed=5)
    shards = write_tiny_checkpoint(tmp_path / "shards", seed=5, max_shard_size="100KB")
    assert len(list(shards.glob("*.safetensors"))) > 1
    one, many = find_checkpoint(str(whole)), find_checkpoint(str(shards))
    assert one.weights_fingerprint == many.weights_fingerprint
    load(shards)
    next(shards.glob("*.safetensors")).unlink()
    assert "is incomplete: model-" in refuse(shards)


def test_any_changed_tensor_changes_the_fingerprint(copy: Path) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    before = find_checkpoint(str(copy)).weights_fingerprint
    for name in ("lm_head.weight", "image_newline", "model.norm.weight"):
        name = next(n for n in tensors if n.endswith(name))
        save_file(tensors | {name: tensors[name] + 0.01 * torch.randn_like(tensors[name])}, path)
        assert find_checkpoint(str(copy)).weights_fingerprint != before
    save_file(tensors, path)
    assert find_checkpoint(str(copy)).weights_fingerprint == before


def test_not_a_folder_and_not_a_model(tmp_path: Path) -> None:
    assert "is not a folder with a model" in refuse(tmp_path / "nothing")
    assert "no config.json" in refuse(tmp_path)


def test_unsupported_family_names_those_that_are(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text()) | {"model_type": "bert"}
    (copy / "config.json").write_text(json.dumps(config))
    message = refuse(copy)
    assert "bert" in message
    assert "llava_onevision" in message


def test_damaged_config(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    assert "config.json cannot be read" in refuse(copy)


def test_weights_cut_short(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="cut short"):
        _ = find_checkpoint(str(copy)).weights_fingerprint
    assert "damaged" in refuse(copy)


def test_no_weights_and_pickled_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert "is incomplete" in refuse(copy)
    (copy / "pytorch_model.bin").write_bytes(b"pickle")
    assert "pickled weights, which are never loaded" in refuse(copy)


def test_missing_tensors(copy: Path) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    name = next(n for n in tensors if n.endswith("layers.0.self_attn.k_proj.weight"))
    save_file({n: t for n, t in tensors.items() if n != name}, path, {"format": "pt"})
    assert "lacks 1 tensors" in refuse(copy)


def test_weights_of_another_shape(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 8
    (copy / "config.json").write_text(json.dumps(config))
    assert "cannot be loaded" in refuse(copy)


def test_damaged_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    assert "tokenizer" in refuse(copy)


def test_vision_size_that_does_not_fit(copy: Path) -> None:
    path = copy / "video_preprocessor_config.json"
    config = json.loads(path.read_text()) | {"size": {"height": 40, "width": 40}}
    path.write_text(json.dumps(config))
    assert "resizes frames to 40x40" in refuse(copy)


def test_hub_id_without_a_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="not on this machine"):
        find_checkpoint("nobody/nothing")


def test_placement_has_a_reason_and_refuses_what_is_not_there() -> None:
    placement = choose_placement("cpu", "bfloat16")
    assert placement.dtype_name == "bfloat16"
    assert "as asked" in placement.reason
    with pytest.raises(UsageError, match="unknown dtype"):
        choose_placement("cpu", "int3")
    with pytest.raises(UsageError, match="cannot be used"):
        choose_placement("nonsense")


def test_packages_that_are_not_installed_are_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    checkpoint = find_checkpoint(str(tiny))
    with pytest.raises(ModelError, match=r"4 bits need bitsandbytes.*pip install bitsandbytes"):
        load_model(checkpoint, choose_placement("cpu", weights=FOUR_BIT))
    spread = replace(choose_placement("cpu"), spread="always")
    with pytest.raises(ModelError, match=r"over GPUs takes accelerate.*pip install accelerate"):
        load_model(checkpoint, spread)


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("bitsandbytes", "accelerate"))),
    reason="bitsandbytes is optional",
)
def test_weights_of_four_bits(tiny: Path) -> None:
    model = load_model(find_checkpoint(str(tiny)), choose_placement("cpu", weights=FOUR_BIT)).model
    assert "4bit" in type(model.model.language_model.layers[0].self_attn.k_proj).__name__
    assert type(model.model.multi_modal_projector.linear_1) is torch.nn.Linear


def test_bfloat16_on_a_cpu_that_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_placement("cpu").dtype_name == "float32"
    monkeypatch.setattr("streamkv_cli.model.device.cpu_computes_bfloat16", lambda: True)
    placement = choose_placement("cpu")
    assert placement.dtype_name == "bfloat16"
    assert "AMX" in placement.reason


@pytest.mark.parametrize("family", FAMILIES)
def test_without_vision_the_text_side_is_the_same_and_nothing_is_left_to_look_with(
    tmp_path: Path, family: str
) -> None:
    checkpoint = find_checkpoint(str(write_tiny_checkpoint(tmp_path / family, family=family)))
    placement = choose_placement("cpu", "float32")
    whole = load_model(checkpoint, placement)
    blind = load_model(checkpoint, replace(placement, vision=False))
    expected, found = whole.model.state_dict(), blind.model.state_dict()
    text = {name for name in expected if "language_model" in name or "lm_head" in name}
    assert text <= set(found) < set(expected)
    assert not [name for name in found if "vision" in name or "visual" in name]
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    frames = [np.zeros((32, 32, 3), dtype=np.uint8)] * 2
    with pytest.raises((TypeError, AttributeError)):
        blind.features(blind.preprocess(frames))
