"""Where the model runs and in which type, and the reason, which `-v` shows."""

from dataclasses import dataclass

import torch

from streamkv_cli.errors import UsageError

CHOICE = "choose auto, all, cpu, cuda, cuda:N or mps"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

FOUR_BIT = "nf4"
"""How weights of 4 bits are written: normal floats, of bitsandbytes."""


@dataclass(frozen=True)
class Placement:
    """Device and dtype with the reason for each choice.

    Attributes:
        device: where tokens go in; the only one, unless layers are spread.
        spread: over all GPUs: "always", "needed" if the weights do not fit on one, or "never".
        weights: FOUR_BIT, or None for weights in `dtype`.
        vision: whether the vision side is loaded; answering from stored KV never looks at a frame.
    """

    device: torch.device
    dtype: torch.dtype
    reason: str
    spread: str = "never"
    weights: str | None = None
    vision: bool = True

    @property
    def dtype_name(self) -> str:
        """Name as the store writes it: float32, float16 or bfloat16."""
        return str(self.dtype).removeprefix("torch.")


def choose_placement(
    device: str = "auto", dtype: str = "auto", weights: str | None = None
) -> Placement:
    """Pick device and dtype, or check those the user wants.

    Args:
        device: "auto", "cpu", "mps", "cuda", "cuda:1", or "all" for every GPU.
        dtype: "auto" or a key of DTYPES.
        weights: FOUR_BIT or None.

    Raises:
        UsageError: no such device here, or an unknown dtype.
    """
    chosen, why, spread = _device(device)
    if dtype != "auto":
        if dtype not in DTYPES:
            raise UsageError(f"unknown dtype {dtype}", f"choose auto, {', '.join(DTYPES)}")
        reason = f"{why}; {dtype} as asked"
        return Placement(chosen, DTYPES[dtype], reason, spread, weights)
    picked, because = _dtype(chosen)
    return Placement(chosen, picked, f"{why}; {because}", spread, weights)


def _dtype(device: torch.device) -> tuple[torch.dtype, str]:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "bfloat16, which it computes in"
        return torch.float16, "float16, since it lacks bfloat16"
    if device.type == "mps":
        return torch.float16, "float16, the fast type of Apple GPUs"
    if cpu_computes_bfloat16():
        return torch.bfloat16, "bfloat16, which this CPU has matrix units for (AMX)"
    return torch.float32, "float32, since this CPU has no matrix units for bfloat16 (AMX)"


def cpu_computes_bfloat16() -> bool:
    """Whether the CPU multiplies matrices of bfloat16 in hardware.

    Without that torch converts back and forth: a product of 512 x 1024 by 1024 x 4096 took 138 ms
    in bfloat16 and 29 ms in float32 on one core of a Xeon with AVX-512 but without AMX.
    """
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(supported and supported())


def _device(name: str) -> tuple[torch.device, str, str]:
    if name == "auto":
        if torch.cuda.is_available():
            several = "needed" if torch.cuda.device_count() > 1 else "never"
            return torch.device("cuda"), f"CUDA GPU {torch.cuda.get_device_name()}", several
        if torch.backends.mps.is_available():
            return torch.device("mps"), "Apple GPU", "never"
        return torch.device("cpu"), "CPU, no GPU found", "never"
    if name == "all":
        if not torch.cuda.is_available():
            raise UsageError("there is no CUDA GPU to spread the model over", "choose auto or cpu")
        count = torch.cuda.device_count()
        return torch.device("cuda"), f"all of {count} CUDA GPUs", "always"
    try:
        device = torch.device(name)
    except RuntimeError:  # its message lists every kind of device that torch was ever built for
        raise UsageError(f"device {name} cannot be used: there is no such kind", CHOICE) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UsageError(f"device {name} cannot be used: {first_line}", CHOICE) from None
    return device, f"{name} as asked", "never"
