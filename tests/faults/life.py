"""The program under test: everything that changes a store, run again until it is through.

Started with the shim preloaded; each case is a forked child, so that torch is imported once.
Arguments: folder to work in, the shim, then cases as "action:first:step" with action an errno
name, "kill" or "half"; prints one line a case that went wrong, then what was tried.
"""

import ctypes
import errno
import hashlib
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from store import Store, StoreDiskError, check, rebuild
from tests.store import samples

COUNT = 3
_SHIM = ctypes.CDLL(sys.argv[2])
_SHIM.fault_last.restype = _SHIM.fault_names.restype = ctypes.c_char_p
_SHIM.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
ACTIONS = {"count": 0, "kill": -1, "half": -2}


def live(root: Path, say: Callable[[str], None]) -> None:
    """Make a store, fill a video, fill and remove another, prune; taken up wherever it stopped."""
    with Store.open(root, create=True) as store:
        _finish(store, samples.VIDEO, say)
        say("removing")
        _finish(store, samples.OTHER, lambda _: None)
        store.remove(samples.OTHER)
        say("removed")
        store.prune()


def _finish(store: Store, video_id: str, say: Callable[[str], None]) -> None:
    with store.writer(samples.record(video_id)) as writer:
        for number in range(writer.next_number, COUNT):
            samples.commit(writer, final=number == COUNT - 1)
            say(f"committed {number}")


def verify(root: Path, said: list[str]) -> None:
    """Every promise about what a crash or a failed call leaves behind."""
    if not (root / "streamkv.json").exists():
        assert not reported(said), "what was reported is gone"
        return
    assert [found for found in check(root, read_data=True) if found.kind == "damage"] == []
    with Store.open(root) as store:
        states = {video.video_id: state for video, state in store.videos()}
        committed = sum(line.startswith("committed") for line in said)
        assert samples.VIDEO in states or not committed
        assert samples.OTHER not in states or "removed" not in said
        for video_id, state in states.items():
            assert state.segments >= (committed if video_id == samples.VIDEO else 0)
            assert state.segments <= committed + 1 or video_id == samples.OTHER
            numbers = range(state.segments)
            assert [s.number for s in store.segments(video_id)] == list(numbers)
            for layer in range(samples.GEOMETRY.layers):
                found = store.summaries(layer, [video_id])
                blocks = store.read_blocks(layer, found.refs(range(len(found))))
                assert torch.equal(
                    blocks, torch.cat([samples.layers(n)[layer].kv for n in numbers])
                )


def reported(said: list[str]) -> list[str]:
    """What the program under test said it had done."""
    return [line for line in said if line.startswith(("committed", "remov"))]


def contents(root: Path) -> str:
    """A digest of all files but the index's, and of all that the index says."""
    seen = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if "index.lmdb" not in path.parts:
            seen.update(str(path.relative_to(root)).encode())
            seen.update(path.read_bytes() if path.is_file() else b"")
    with Store.open(root) as store:
        seen.update(samples.digest(store).encode())
    return seen.hexdigest()


def in_child(work: Callable[[Callable[[str], None]], None]) -> tuple[int, list[str]]:
    """Run `work` in a fork; its wait status and what it said before it ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        code = 0
        try:
            work(lambda line: os.write(write, f"{line}\n".encode()) and None)
        except StoreDiskError as error:
            os.write(write, f"error {error}\n".encode())
            code = 5
        except BaseException:
            os.write(write, traceback.format_exc().replace("\n", " | ").encode() + b"\n")
            code = 1
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode().splitlines()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def armed(root: Path, at: int, action: int, sticky: bool) -> Callable[[Callable], None]:
    def work(say: Callable[[str], None]) -> None:
        _SHIM.fault_arm(os.fsencode(root), at, action, sticky)
        try:
            live(root, say)
        finally:
            _SHIM.fault_disarm()
            say(f"calls {_SHIM.fault_calls()} {_SHIM.fault_last().decode()}")
            if action == 0:
                say(_SHIM.fault_names().decode())
            if _SHIM.fault_retried():
                say("retried a failed sync")

    return work


def case(root: Path, at: int, name: str, expected: str) -> tuple[int, str]:
    """How the program ended with this fault at this call, and what was wrong, "" if nothing."""
    shutil.rmtree(root, ignore_errors=True)
    action = ACTIONS.get(name) or getattr(errno, name)
    code, said = in_child(armed(root, at, action, name in ("ENOSPC", "EDQUOT", "EROFS")))
    return code, _wrong(root, action, code, said, expected)


def _wrong(root: Path, action: int, code: int, said: list[str], expected: str) -> str:
    if action < 0 and code != -9:
        return f"not killed but ended with {code}: {said[-2:]}"
    if action > 0 and code not in (0, 5):
        return f"ended with {code}: {said[-3:]}"
    if action > 0 and code == 5 and sum(line.startswith("error ") for line in said) != 1:
        return f"not one error: {said}"
    if "retried a failed sync" in said:
        return f"retried a failed sync: {said}"
    code, problems = in_child(lambda _: verify(root, said))
    if code:
        return f"afterwards: {problems} (said {said})"
    code, problems = in_child(lambda say: live(root, say))
    if code:
        return f"cannot go on: {problems} (said {said})"
    if contents(root) != expected:
        left = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        return f"another end: {left} (said {said})"
    rebuild(root)
    return "" if contents(root) == expected else "the rebuilt index differs"


def main() -> None:
    root = Path(sys.argv[1]) / "store"
    shutil.rmtree(root, ignore_errors=True)
    code, said = in_child(armed(root, 0, 0, False))
    assert code == 0, said
    expected = contents(root)
    total, names = int(said[-2].split()[1]), said[-1].split()
    bad = tried = 0
    ends: Counter[int] = Counter()
    for words in sys.argv[3:]:
        name, first, step = words.split(":")
        for at in range(int(first), total + 1, int(step)):
            if name == "half" and "write" not in names[at - 1]:
                continue
            tried += 1
            code, problem = case(root, at, name, expected)
            ends[code] += 1
            if problem:
                bad += 1
                print(f"{name} at call {at} ({names[at - 1]}): {problem}", flush=True)
    killed, told, through = ends[-9], ends[5], ends[0]
    print(f"{tried} cases, {bad} bad; {killed} killed, {told} ended with 5, {through} went through")
    print(f"{total} calls: {' '.join(sorted(set(names)))}")


if __name__ == "__main__":
    main()
