"""Writers, a remover and readers in one store; each is a fork, so that torch is imported once.

Arguments: the store's folder, how many readers, how many segments a writer adds. Prints what the
readers met; ends with 1 if one of them was wrong or died.
"""

import os
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

import store.index
from store import Store, StoreMissing, VideoWriter
from tests.store import samples

store.index._MAP_SIZE = 1 << 18  # of 64 GiB: it has to grow again and again, under everyone
ROUNDS = 1000


def add(writer: VideoWriter, number: int, seed: int, *, final: bool) -> None:
    samples.commit(writer, final=final, layers=samples.layers(number + ROUNDS * seed))


def grow(root: Path, video_id: str, count: int, seed: int) -> None:
    with Store.open(root, write=True) as opened, opened.writer(samples.record(video_id)) as writer:
        for number in range(count):
            add(writer, number, seed, final=number == count - 1)


def come_and_go(root: Path, done: Path) -> None:
    """One video is filled with other blocks each time, and removed again."""
    seed = 100
    with Store.open(root, write=True) as opened:
        while not done.exists():
            seed += 1
            with opened.writer(samples.record(samples.OTHER, notes={"seed": seed})) as writer:
                for number in range(3):
                    add(writer, number, seed, final=number == 2)
            opened.remove(samples.OTHER)


def ask(root: Path, done: Path, seed: int) -> Counter[str]:
    """Read random blocks as a question does, over and over; each must be one that was written."""
    met: Counter[str] = Counter()
    picks = random.Random(seed)
    with Store.open(root) as opened:
        while not done.exists():
            for record, _ in opened.videos():
                layer = picks.randrange(record.geometry.layers)
                try:
                    found = opened.summaries(layer, [record.video_id])
                    rows = picks.sample(range(len(found)), min(5, len(found)))
                    blocks = opened.read_blocks(layer, found.refs(rows))
                except StoreMissing as error:
                    met["ingested again" if "again while" in str(error) else "removed"] += 1
                    continue
                met["read"] += len(rows)
                for row, block in zip(rows, blocks, strict=True):
                    assert whole(found.keys[row], int(found.segment[row]), layer, record, block)
    return met


def whole(key: torch.Tensor, number: int, layer: int, record: object, block: torch.Tensor) -> bool:
    """Whether block and block key were written together, in whichever round that was."""
    last = SEEDS[record.video_id]  # type: ignore[attr-defined]
    for seed in last:
        written = samples.layers(number + ROUNDS * seed)[layer]
        for kv, other in zip(written.kv, written.keys, strict=True):
            if torch.equal(other.half(), key):
                return torch.equal(kv, block)
    return False


SEEDS = {samples.VIDEO: range(1), samples.OTHER: range(101, 400), "ab" * 8: range(1, 2)}


def forked(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        result = work()
        if result is not None:
            # One write: lines of several processes must not run into each other.
            os.write(1, f"{dict(result)}\n".encode())  # type: ignore[call-overload]
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    root, readers, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    done = root.parent / "done"
    Store.open(root, create=True).close()
    asking = [forked(lambda seed=n: ask(root, done, seed)) for n in range(readers)]
    remover = forked(lambda: come_and_go(root, done))
    writers = [
        forked(lambda: grow(root, samples.VIDEO, count, 0)),
        forked(lambda: grow(root, "ab" * 8, count, 1)),
    ]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in writers]
    done.touch()
    rest = [*asking, remover]
    codes += [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in rest]
    print("codes", codes)
    sys.exit(any(codes))


if __name__ == "__main__":
    main()
