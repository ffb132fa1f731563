"""Load what `checkpoint` found: safetensors only, never remote code, errors in one line."""

import contextlib
import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from streamkv_cli.errors import ModelError
from streamkv_cli.model.attention import register
from streamkv_cli.model.checkpoint import Checkpoint
from streamkv_cli.model.device import FOUR_BIT, Placement
from streamkv_cli.model.families import FAMILIES, budget

if TYPE_CHECKING:
    from streamkv_cli.model.video_llm import VideoLLM

_VISION = ("visual", "vision_tower", "multi_modal_projector")
_UNQUANTIZED = [*(f"model.{part}" for part in _VISION), "lm_head"]

_SMALL = 20_000_000
"""Parameters of a model that one thread runs as fast as two."""

_ROOM = 0.8
"""Part of a GPU's memory that weights may take; the rest is for KV."""


def load_model(
    checkpoint: Checkpoint, placement: Placement, frame_tokens: int | None = None
) -> "VideoLLM":
    """Load a checkpoint with the file of its family.

    Args:
        frame_tokens: most visual tokens of a block; None takes the family's default.
    """
    family = FAMILIES[checkpoint.family]
    module = importlib.import_module(family.module)
    tokens = budget(family, frame_tokens)
    model: VideoLLM = module.load(checkpoint, placement, *([] if tokens is None else [tokens]))
    return model


def load_weights(cls: Any, checkpoint: Checkpoint, placement: Placement) -> Any:
    """The stock model of class `cls` on its device, in eval mode, with our attention in its text.

    Raises:
        ModelError: a file is damaged, tensors are missing, memory does not suffice, or the text
            model asks for attention that is not supported.
    """
    text = checkpoint.text_config
    if "sliding_attention" in (text.get("layer_types") or []) or text.get("use_sliding_window"):
        raise ModelError(
            f"{checkpoint.source} uses sliding-window attention, which is not supported",
            "use a checkpoint with full attention",
        )
    model = _load_weights(cls, checkpoint, placement)
    _limit_threads(model, placement)
    if not placement.vision:
        for part in _VISION:  # what is left of it must not be mistaken for a tower
            if hasattr(model.model, part):
                setattr(model.model, part, None)
    # The vision tower keeps its own attention; only the text model meets contexts.
    model.set_attn_implementation({"text_config": register()})
    return model


def _limit_threads(model: Any, placement: Placement) -> None:
    """One thread for a model whose products are too small to be shared out.

    Two threads wait for one another longer than they compute, and for milliseconds where another
    process has one's core. What the user has said holds.
    """
    free = placement.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ
    if free and model.num_parameters() < _SMALL:
        torch.set_num_threads(1)


def _load_weights(cls: Any, checkpoint: Checkpoint, placement: Placement) -> Any:
    special = _special(checkpoint, placement)
    try:
        with _quiet():
            model, report = cls.from_pretrained(
                checkpoint.folder,
                config=_config(cls, checkpoint, placement),
                dtype=placement.dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **special,
            )
        missing = sorted(report["missing_keys"])
        if missing:
            raise ModelError(
                f"{checkpoint.source} lacks {len(missing)} tensors, {missing[0]} first",
                "the download is incomplete or its config.json belongs to another model",
            )
        # What is spread or quantized was put in its place while it was loaded.
        return (model if special else model.to(placement.device)).eval()
    except SafetensorError as error:
        raise ModelError(
            f"the weights of {checkpoint.source} are damaged ({error})", "fetch the model again"
        ) from None
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "out of memory" in str(error).lower():
            raise ModelError(
                f"{checkpoint.source} does not fit into the memory of {placement.device}",
                "use a smaller model or --device cpu",
            ) from None
        raise ModelError(
            f"{checkpoint.source} cannot be loaded: {_first_line(error)}",
            "its files are damaged or do not belong together; fetch the model again",
        ) from error


def _config(cls: Any, checkpoint: Checkpoint, placement: Placement) -> Any:
    """The checkpoint's configuration; without vision, of a tower of no layers.

    Tensors that the model has no place for are not read.
    """
    config = cls.config_class.from_pretrained(checkpoint.folder, local_files_only=True)
    if not placement.vision:
        for depth in ("num_hidden_layers", "depth"):
            if depth in config.vision_config.to_dict():
                setattr(config.vision_config, depth, 0)
        if hasattr(config.vision_config, "deepstack_visual_indexes"):
            config.vision_config.deepstack_visual_indexes = []
    return config


def _special(checkpoint: Checkpoint, placement: Placement) -> dict[str, Any]:
    """Arguments of loading over several GPUs, or in 4 bits.

    Raises:
        ModelError: the package that does it is not installed.
    """
    special: dict[str, Any] = {}
    if placement.weights == FOUR_BIT:
        _require("bitsandbytes", "weights of 4 bits need bitsandbytes")
        _require("accelerate", "weights of 4 bits need accelerate")
        special["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=FOUR_BIT,
            bnb_4bit_compute_dtype=placement.dtype,
            # Small, and what it sees is all the text model will ever know of a frame.
            llm_int8_skip_modules=_UNQUANTIZED,
        )
        special["device_map"] = {"": placement.device}
    if placement.spread == "always" or (placement.spread == "needed" and _too_large(checkpoint)):
        _require("accelerate", f"to spread {checkpoint.source} over GPUs takes accelerate")
        special["device_map"] = "auto"
    return special


def _require(package: str, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ModelError(f"{why}, which is not installed", f"install it: pip install {package}")


def _too_large(checkpoint: Checkpoint) -> bool:
    """Whether the weights leave no room for KV on the first GPU."""
    free, _ = torch.cuda.mem_get_info(0)
    return sum(path.stat().st_size for path in checkpoint.weights) > _ROOM * free


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The checkpoint's own (fast) tokenizer."""
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(
                checkpoint.folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        raise ModelError(
            f"the tokenizer of {checkpoint.source} cannot be loaded: {_first_line(error)}",
            "fetch the model again",
        ) from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or repr(error)
    return text.splitlines()[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars and notes from transformers while loading, unless debugging."""
    if os.environ.get("STREAMKV_DEBUG"):
        yield
        return
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
