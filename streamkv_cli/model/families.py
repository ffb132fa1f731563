"""The model families there are: one entry each, and nothing heavy to import.

config.json's model_type says which family a checkpoint belongs to.
"""

from dataclasses import dataclass

from streamkv_cli.errors import UsageError


@dataclass(frozen=True)
class Family:
    """What is known of a family before its file is imported.

    Attributes:
        name: as people call it.
        module: the file that knows it.
        example: a checkpoint of it on the hub.
        frames: sampled frames that make one block.
        frame_tokens: most visual tokens of one block unless the user says otherwise; None where
            every picture is resized to one size.
    """

    name: str
    module: str
    example: str
    frames: int = 1
    frame_tokens: int | None = None


_HERE = "streamkv_cli.model."

FAMILIES = {
    "llava_onevision": Family(
        "LLaVA-OneVision", _HERE + "llava_onevision", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
    ),
    "qwen2_5_vl": Family("Qwen2.5-VL", _HERE + "qwen2_5_vl", "Qwen/Qwen2.5-VL-3B-Instruct", 2, 256),
    "qwen3_vl": Family("Qwen3-VL", _HERE + "qwen3_vl", "Qwen/Qwen3-VL-4B-Instruct", 2, 256),
    "internvl": Family("InternVL", _HERE + "internvl", "OpenGVLab/InternVL3-1B-hf"),
}


def budget(family: Family, frame_tokens: int | None) -> int | None:
    """Most visual tokens of a block; None where a family knows one size only.

    Raises:
        UsageError: the family has no choice, or nothing can be seen in so few tokens.
    """
    if frame_tokens is None:
        return family.frame_tokens
    if family.frame_tokens is None:
        raise UsageError(
            f"{family.name} shows every frame in the same number of tokens",
            "leave out --frame-tokens",
        )
    return frame_tokens
