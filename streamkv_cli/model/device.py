"""Where the model runs and in which type, and the reason, which `-v` shows."""

from dataclasses import dataclass

import torch

from streamkv_cli.errors import UsageError

CHOICE = "choose auto, cpu, cuda, cuda:N or mps"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Placement:
    """Device and dtype with the reason for each choice."""

    device: torch.device
    dtype: torch.dtype
    reason: str

    @property
    def dtype_name(self) -> str:
        """Name as the store writes it: float32, float16 or bfloat16."""
        return str(self.dtype).removeprefix("torch.")


def choose_placement(device: str = "auto", dtype: str = "auto") -> Placement:
    """Pick device and dtype, or check those the user wants.

    Args:
        device: "auto", "cpu", "mps", "cuda" or "cuda:1".
        dtype: "auto" or a key of DTYPES.

    Raises:
        UsageError: no such device here, or an unknown dtype.
    """
    chosen, why = _device(device)
    if dtype != "auto":
        if dtype not in DTYPES:
            raise UsageError(f"unknown dtype {dtype}", f"choose auto, {', '.join(DTYPES)}")
        return Placement(chosen, DTYPES[dtype], f"{why}; {dtype} as asked")
    if chosen.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Placement(chosen, torch.bfloat16, f"{why}; bfloat16, which it computes in")
        return Placement(chosen, torch.float16, f"{why}; float16, since it lacks bfloat16")
    if chosen.type == "mps":
        return Placement(chosen, torch.float16, f"{why}; float16, the fast type of Apple GPUs")
    return Placement(chosen, torch.float32, f"{why}; float32, which every CPU computes in")


def _device(name: str) -> tuple[torch.device, str]:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"CUDA GPU {torch.cuda.get_device_name()}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "Apple GPU"
        return torch.device("cpu"), "CPU, no GPU found"
    try:
        device = torch.device(name)
    except RuntimeError:  # its message lists every kind of device that torch was ever built for
        raise UsageError(f"device {name} cannot be used: there is no such kind", CHOICE) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UsageError(f"device {name} cannot be used: {first_line}", CHOICE) from None
    return device, f"{name} as asked"
