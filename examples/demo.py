"""The whole program in one minute: ingest examples/demo.mp4 once, ask it from another process.

There is no download: the model is a tiny checkpoint of the real classes with random weights, so its
words mean nothing. What is real is everything else: decoding, segments, compression, the store on
disk, the layer-adaptive fetch, and the seconds of video that the answer drew on.

    make demo
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tiny_checkpoint import write_tiny_checkpoint

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / ".demo"


def streamkv(*words: str) -> None:
    """Show a command as a user would type it, and run it."""
    shown = " ".join(f'"{w}"' if " " in w else w for w in words)
    print(f"\n$ streamkv {shown}", flush=True)
    environment = {**os.environ, "STREAMKV_STORE": str(WORK / "store")}
    command = [sys.executable, "-m", "streamkv_cli", *words]
    subprocess.run(command, check=True, cwd=HERE.parent, env=environment)


def main() -> None:
    """Run the demo."""
    shutil.rmtree(WORK, ignore_errors=True)
    print(f"Writing a tiny random-weight model to {WORK.name}/tiny ...", flush=True)
    write_tiny_checkpoint(WORK / "tiny")
    streamkv("ingest", "examples/demo.mp4", "--model", ".demo/tiny", "--fps", "1")
    streamkv("ls")
    streamkv("ask", "what colour is the circle?", "--blocks", "4", "--max-new-tokens", "16", "-v")
    print(
        "\nThe model's weights are random, so the words above mean nothing.\n"
        "With a real one, e.g. --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf, they do."
    )


if __name__ == "__main__":
    main()
