"""How fast a model of a published shape works here, with random weights: no download.

    python -m examples.performance --shape llava-0.5b --frames 16
    python -m examples.performance --shape llava-7b qwen2.5-7b --frames 512     # on a GPU

Prints one JSON line a shape: frames a second of the vision side and of the language model, seconds
to the first token over a memory of an hour (or `--hours`), what encoding as much video again would
take at the least (vision and stock forwards at the speed just measured, as if no frame looked at
the ones before it; with `--again` the stock model really reads the first memory's frames, at once),
and the peak of device memory beside weights and window.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from examples.tiny_checkpoint import tokenizer
from store import CODECS, BlockSpan, Geometry, Store, VideoRecord
from streamkv_cli.bench.bare import Bare
from streamkv_cli.method.presets import Method, preset
from streamkv_cli.method.segmenter import Piece, Segment
from streamkv_cli.model.attention import register
from streamkv_cli.model.device import Placement, choose_placement
from streamkv_cli.model.layout import Layout
from streamkv_cli.model.llava_onevision import LlavaOnevision
from streamkv_cli.model.preprocess import Preprocessing
from streamkv_cli.model.prompts import GUIDANCE_PROMPT, INIT_PROMPT
from streamkv_cli.model.qwen2_5_vl import Qwen25VL
from streamkv_cli.model.resolution import Resolution
from streamkv_cli.model.video_llm import VideoLLM
from streamkv_cli.pipeline.answer import Asker, Sampling
from streamkv_cli.pipeline.bounds import Bounds
from streamkv_cli.pipeline.catalog import Shelf
from streamkv_cli.pipeline.compress import Compressed, compress_segment
from streamkv_cli.pipeline.ingest import vision_batch
from streamkv_cli.pipeline.slots import note_layout, note_skips
from streamkv_cli.pipeline.window import Window

FPS, SEGMENT, ASKED = 0.5, 16, 4
_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "image_size": 384,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 26,
    "patch_size": 14,
    "vision_use_head": False,
}
_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
_SMALL = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "vocab_size": 152000,
}
_QWEN_TOWER = {
    "depth": 32,
    "hidden_act": "silu",
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "patch_size": 14,
    "tokens_per_second": 2,
}
SHAPES = {
    "llava-0.5b": ("llava_onevision", _SMALL, _SIGLIP),
    "llava-7b": ("llava_onevision", _7B, _SIGLIP),
    "qwen2.5-7b": ("qwen2_5_vl", _7B, _QWEN_TOWER),
}


def build(shape: str, placement: Placement) -> VideoLLM:
    """A model of the shape with random weights, on its device."""
    family, text, vision = SHAPES[shape]
    words = tokenizer(family)
    kind = "qwen2" if family == "llava_onevision" else "qwen2_5_vl_text"
    config = AutoConfig.for_model(
        family, text_config={"model_type": kind, **text}, vision_config=vision
    )
    with placement.device:
        model = AutoModelForImageTextToText.from_config(config, dtype=placement.dtype).eval()
    model.set_attn_implementation({"text_config": register()})
    half = (0.5, 0.5, 0.5)
    pixels = Preprocessing(384, 384, "bicubic", 1 / 255, half, half)
    parts = (model, words, words.chat_template, placement, pixels)
    if family == "llava_onevision":
        return LlavaOnevision(*parts)
    return Qwen25VL(*parts, Resolution(14, 2, 2, 3136, 256))


def measure(
    shape: str, placement: Placement, frames: int, hours: list[float], codec: str, again: bool
) -> dict[str, object]:
    """Every stage on `frames` frames of noise, then a question to memories of these `hours`."""
    model, method = build(shape, placement), preset("default")
    noise = np.random.default_rng(0).integers(0, 256, (frames, 720, 1280, 3), dtype=np.uint8)
    layout = model.lay_out(1280, 720, FPS)
    batch, features = vision_batch(placement), []
    begun = _clock(placement)
    for start in range(0, frames, batch):
        features.append(model.features(model.preprocess(list(noise[start : start + batch]))).tokens)
    seen = _clock(placement) - begun
    tokens = torch.cat(features)
    geometry = Geometry(
        model.shape.layers,
        model.shape.kv_heads,
        layout.tokens,
        model.shape.head_dim,
        placement.dtype_name,
    )
    window = Window(
        model.encode_prefix(model.prompt(INIT_PROMPT, "?").before), method.window, layout
    )
    guidance, compressed = model.guidance(GUIDANCE_PROMPT), None
    begun = _clock(placement)
    for start in range(0, len(tokens), SEGMENT):
        pieces = [
            Piece(block, 0.0, 0.0, layout.frames, number=start + i)
            for i, block in enumerate(tokens[start : start + SEGMENT])
        ]
        segment = Segment(start // SEGMENT, pieces)
        compressed = compress_segment(
            segment, model, layout, method, window, guidance, CODECS[codec], geometry
        )
    encoded = _clock(placement) - begun
    assert compressed is not None
    stock = Bare(model)
    stock.text(tokens[:SEGMENT].flatten(0, 1).shape[0], 0)  # once to warm up
    read = stock.text(tokens[:SEGMENT].flatten(0, 1).shape[0], 0) / len(tokens[:SEGMENT])
    least = seen / frames + read / layout.frames
    told: list[dict[str, Any]] = []
    for each in hours:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            told.append(
                _ask(place, model, layout, method, geometry, compressed, len(pieces), each, codec)
            )
        told[-1]["encode_again_seconds_at_least"] = round(least * each * 3600 * FPS, 1)
    if again:
        count = round(hours[0] * 3600 * FPS / layout.frames)
        width = model.model.get_input_embeddings().weight.shape[1]
        many = tokens[torch.arange(count) % len(tokens), :, :width].flatten(0, 1)[None]
        taken = stock.prefill(many) + seen / frames * count * layout.frames
        told[0]["encode_again_seconds"] = round(taken, 1)
    itemsize = placement.dtype.itemsize
    return {
        "shape": shape,
        "device": placement.reason,
        "frames": frames,
        "vision_frames_per_second": round(frames / seen, 3),
        "language_model_frames_per_second": round(frames / encoded, 3),
        "asked": told,
        "peak_bytes": _peak(placement),
        "weights_bytes": sum(each.numel() for each in model.model.parameters()) * itemsize,
        "window_bytes": method.window
        * 2
        * geometry.layers
        * geometry.kv_heads
        * geometry.head_dim
        * itemsize,
    }


def _ask(
    folder: Path,
    model: VideoLLM,
    layout: Layout,
    method: Method,
    geometry: Geometry,
    compressed: Compressed,
    blocks: int,
    hours: float,
    codec: str,
) -> dict[str, object]:
    """Seconds to the first token over `hours` of copies of one segment."""
    record = VideoRecord(
        "0" * 16,
        "hour",
        "hour",
        "0" * 32,
        {"init_prompt": INIT_PROMPT, "codec": codec},
        geometry,
        "",
        {} | note_layout(layout),
        codec=codec,
    )
    step = layout.frames / FPS
    count = max(1, round(3600 * hours / (blocks * step)))
    with Store.open(folder, write=True, create=True) as store:
        with store.writer(record) as writer:
            for number in range(count):
                at = [(number * blocks + i) * step for i in range(blocks)]
                writer.commit(
                    number,
                    at[0],
                    at[-1] + step,
                    blocks * layout.frames,
                    [BlockSpan(start, start + step, layout.frames) for start in at],
                    compressed.layers,
                    summary=compressed.summary,
                    final=number == count - 1,
                    notes={"changes": [], **note_skips(compressed.skips)},
                )
        asker = Asker(model, method, Sampling(max_new_tokens=8))
        catalog = Shelf(store).catalog(store.videos(), Bounds())
        times = [asker.answer(catalog, "What happened?") for _ in range(ASKED)]
        stored = store.videos()[0][1].bytes
    return {
        "seconds_to_first_token": [round(answer.seconds_to_first_token, 3) for answer in times],
        "blocks_fetched": times[0].blocks_fetched,
        "hours": hours,
        "bytes": stored,
    }


def _clock(placement: Placement) -> float:
    if placement.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak(placement: Placement) -> int:
    """Of device memory; of the process, on a CPU."""
    if placement.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["llava-0.5b"])
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument(
        "--hours", type=float, nargs="+", default=[1.0], help="lengths of the memories asked"
    )
    parser.add_argument("--kv-dtype", choices=CODECS, default="raw")
    parser.add_argument(
        "--again", action="store_true", help="also let the stock model read the first memory"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    for name in arguments.shape:
        chosen = choose_placement(arguments.device, arguments.dtype)
        given = (arguments.frames, arguments.hours, arguments.kv_dtype, arguments.again)
        print(json.dumps(measure(name, chosen, *given)), flush=True)
