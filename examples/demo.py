"""The whole program in a minute: ingest examples/demo.mp4 once, ask it from other processes.

There is no download: the model is the small one that comes with the program. It was trained for the
demo world (coloured shapes on patterned grounds, with a number on the screen) and knows nothing
else, but about that it answers rightly. See docs/demo-model.md.

    make demo
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / ".demo"

QUESTIONS = {
    "what colour was the square on the striped green ground?": "pink",
    "when the pink moon was there, what number was on the screen?": "2",
    "what came right after the yellow triangle?": "red cross",
    "which way did the white triangle move?": "up",
    "was there a blue triangle?": "no",
}
"""Questions of five kinds about examples/demo.mp4 with their right answers.

The video: `python -m examples.demo_model.make_video examples/demo.mp4 --seed 11`.
"""

BLOCKS = ("--blocks", "16")
"""A third of what is stored: so short a memory would be fetched whole by default."""


def streamkv(*words: str) -> str:
    """Show a command as a user would type it, run it, and return what it answers."""
    shown = " ".join(f'"{w}"' if " " in w else w for w in words)
    print(f"\n$ streamkv {shown}", flush=True)
    environment = {**os.environ, "STREAMKV_STORE": str(WORK / "store")}
    command = [sys.executable, "-m", "streamkv_cli", *words]
    result = subprocess.run(
        command, check=True, cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, text=True
    )
    print(result.stdout, end="", flush=True)
    return result.stdout.strip()


def main() -> None:
    """Run the demo; fails where an answer is wrong."""
    shutil.rmtree(WORK, ignore_errors=True)
    streamkv("ingest", "examples/demo.mp4", "--model", "demo")
    streamkv("ls")
    answers = {question: streamkv("ask", question, *BLOCKS) for question in QUESTIONS}
    streamkv("show", "demo.mp4", "--html", ".demo/demo.html")
    wrong = {q: a for q, a in answers.items() if a != QUESTIONS[q]}
    if wrong:
        sys.exit(f"wrong answers: {wrong}")
    print(f"\nAll {len(answers)} answers are right.")


if __name__ == "__main__":
    main()
