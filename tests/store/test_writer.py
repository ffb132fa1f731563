"""Who may write what: order, shapes, identity, one writer a video, removal."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from store import Geometry, LayerBlocks, Store, StoreDamaged, StoreMissing, StoreRefused
from tests.store import samples


def _bad_layers() -> dict[str, Any]:
    """Name -> (layers, part of the message)."""
    good = samples.layers(0)
    first = good[0]
    kv, keys = first.kv, first.keys
    nan = keys.clone()
    nan[1, 0, 0] = float("nan")
    wrong = {
        "too few layers": (good[:2], "2 layers given"),
        "wrong dtype": (LayerBlocks([0, 2, 4], kv.float(), keys), "kv is torch.float32"),
        "wrong shape": (LayerBlocks([0, 2, 4], kv[:2], keys), "layer 0 of segment 0: kv is"),
        "wrong keys": (LayerBlocks([0, 2, 4], kv, keys[:, :1]), "keys are"),
        "whole-number keys": (LayerBlocks([0, 2, 4], kv, keys.int()), "keys are"),
        "not a number": (LayerBlocks([0, 2, 4], kv, nan), "not a number"),
        "no summary row": (LayerBlocks([0, 1, 2], kv, keys), "not the summary block 4"),
        "out of order": (LayerBlocks([2, 0, 4], kv, keys), "must ascend"),
        "twice": (LayerBlocks([2, 2, 4], kv, keys), "must ascend"),
        "beyond the spans": (LayerBlocks([0, 4, 4], kv, keys), "must ascend"),
        "negative": (LayerBlocks([-1, 2, 4], kv, keys), "must ascend"),
    }
    return {
        name: (layers if isinstance(layers, list) else [layers, *good[1:]], part)
        for name, (layers, part) in wrong.items()
    }


@pytest.mark.parametrize("name", list(_bad_layers()))
def test_wrong_tensors_are_refused(tmp_path: Path, name: str) -> None:
    layers, part = _bad_layers()[name]
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(samples.record()) as writer:
            with pytest.raises(ValueError, match=part):
                samples.commit(writer, layers=layers)
            assert list((tmp_path / "s" / "videos" / samples.VIDEO).glob("*.s*")) == []
            samples.commit(writer)  # a refused segment does not spoil the writer
        assert len(store.segments(samples.VIDEO)) == 1


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"number": 1}, "segment 1 given, 0 is next"),
        ({"number": -1}, "0 is next"),
        ({"start": 9.0}, "ends before it starts"),
        ({"end": float("inf")}, "finite"),
        ({"frames": -1}, "not negative"),
        ({"spans": list(reversed(samples.spans(0)))}, "time order"),
        ({"notes": {"x": object()}}, "JSON"),
    ],
)
def test_wrong_records_are_refused(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(samples.record()) as writer, pytest.raises(ValueError, match=part):
            samples.commit(writer, **changes)
        assert store.videos() == []
    assert list((tmp_path / "s" / "videos").iterdir()) == []


def test_nothing_follows_the_final_segment(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 2)
    with Store.open(tmp_path / "s", write=True) as store, store.writer(samples.record()) as writer:
        assert writer.state.complete
        with pytest.raises(ValueError, match="complete"):
            samples.commit(writer)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"fingerprint": "beef"}, 'fingerprint is stored as "f00d", now "beef"'),
        ({"profile": {"fps": 1, "model": {}}}, "profile.fps is stored as 0.5, now 1"),
        (
            {"profile": {"fps": 0.5, "model": {"dtype": "float16", "revision": "main"}}},
            'profile.model.dtype is stored as "bfloat16", now "float16"',
        ),
        ({"profile": {"fps": 0.5}}, "profile.model is stored as"),
        (
            {"geometry": replace(samples.GEOMETRY, tokens=6)},
            "geometry.tokens is stored as 5, now 6",
        ),
    ],
)
def test_another_identity_is_refused(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    samples.fill(tmp_path / "s", 1)
    with Store.open(tmp_path / "s", write=True) as store:
        with pytest.raises(StoreRefused) as caught:
            store.writer(samples.record(**changes))
        assert part in str(caught.value)
        store.writer(samples.record()).close()  # the refused one left no lock


def test_equal_profiles_are_equal_however_spelled(tmp_path: Path) -> None:
    first = samples.record(profile={"a": (1, 2), "b": {"y": 1, "x": 2}})
    second = samples.record(profile={"b": {"x": 2, "y": 1}, "a": [1, 2]})
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(first) as writer:
            samples.commit(writer)
        with store.writer(second) as writer:
            assert writer.next_number == 1


def test_one_writer_a_video(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(samples.record()) as writer:
            samples.commit(writer)
            with pytest.raises(
                StoreRefused, match=rf"written by process {os.getpid()} \(.*\), since .* s ago"
            ):
                store.writer(samples.record())
            with pytest.raises(
                StoreRefused, match=rf"written by process {os.getpid()} \(.*\), since .* s ago"
            ):
                store.remove(samples.VIDEO)
            with store.writer(samples.record(samples.OTHER)) as other:
                samples.commit(other)
                samples.commit(writer)
        with store.writer(samples.record()) as writer:
            assert writer.next_number == 2
            owner = tmp_path / "s" / "videos" / samples.VIDEO / "writer.lock"
            assert json.loads(owner.read_text())["pid"] == os.getpid()
        assert not owner.exists()


HOLD = (
    "import sys, time; from tests.store import samples; from store import Store\n"
    "with Store.open(sys.argv[1], write=True) as s, s.writer(samples.record()) as w:\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with Store.open(tmp_path / "s", write=True) as store:
            with pytest.raises(StoreRefused, match=rf"process {child.pid} \("):
                store.writer(samples.record())
            child.kill()
            child.wait()
            with store.writer(samples.record()) as writer:
                assert writer.next_number == 1


def test_a_closed_writer_takes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        with store.writer(samples.record()) as writer:
            pass
        with pytest.raises(Exception, match="closed"):
            samples.commit(writer)
        assert store.videos() == []


def test_remove_takes_index_and_files(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 2)
    samples.fill(tmp_path / "s", 1, samples.OTHER)
    with Store.open(tmp_path / "s", write=True) as store:
        found = store.summaries(0, [samples.VIDEO])
        store.read_blocks(0, found.refs([0]))
        store.remove(samples.VIDEO)
        assert [video.video_id for video, _ in store.videos()] == [samples.OTHER]
        assert len(store.summaries(0, [samples.OTHER])) == 3
        with pytest.raises(StoreMissing):
            store.summaries(0, [samples.VIDEO])
        with pytest.raises(StoreMissing):
            store.read_blocks(0, found.refs([0]))
        with pytest.raises(StoreMissing):
            store.remove(samples.VIDEO)
    assert [entry.name for entry in (tmp_path / "s" / "videos").iterdir()] == [samples.OTHER]
    samples.fill(tmp_path / "s", 1)  # and it can come again


def test_removal_elsewhere_is_not_called_damage(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    remove = (
        "import sys; from store import Store\n"
        "with Store.open(sys.argv[1], write=True) as s: s.remove(sys.argv[2])\n"
    )
    with Store.open(tmp_path / "s") as store:
        found = store.summaries(0, [samples.VIDEO])
        command = [sys.executable, "-c", remove, str(tmp_path / "s"), samples.VIDEO]
        subprocess.run(command, check=True)
        with pytest.raises(StoreMissing, match="was removed while it was read"):
            store.read_blocks(0, found.refs([0]))


def test_videos_of_one_model_may_differ_in_tokens_a_block(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    other = Geometry(layers=3, kv_heads=2, tokens=7, head_dim=4, dtype="bfloat16")
    with Store.open(tmp_path / "s", write=True) as store:
        with store.writer(samples.record(samples.OTHER, other)) as writer:
            samples.commit(writer)
        found = store.summaries(0, [samples.VIDEO, samples.OTHER])
        assert [len(found.refs(range(len(found)))), found.video.tolist()] == [6, [0] * 3 + [1] * 3]
        assert store.read_blocks(0, [found.ref(5)]).shape == (1, 2, 2, 7, 4)
        with pytest.raises(StoreRefused, match=r"geometry\.tokens is stored as 5, now 7"):
            store.read_blocks(0, [found.ref(0), found.ref(5)])


def test_videos_of_different_models_are_not_mixed(tmp_path: Path) -> None:
    samples.fill(tmp_path / "s", 1)
    other = Geometry(layers=3, kv_heads=2, tokens=5, head_dim=6, dtype="bfloat16")
    with Store.open(tmp_path / "s", write=True) as store:
        with store.writer(samples.record(samples.OTHER, other)) as writer:
            samples.commit(writer)
        with pytest.raises(StoreRefused, match=r"geometry\.head_dim is stored as 4, now 6"):
            store.summaries(0, [samples.VIDEO, samples.OTHER])
        refs = [store.summaries(0, [video]).ref(0) for video in (samples.VIDEO, samples.OTHER)]
        with pytest.raises(StoreRefused, match="different shapes"):
            store.read_blocks(0, refs)
        with pytest.raises(ValueError, match="layer 3"):
            store.summaries(3, [samples.VIDEO])
        with pytest.raises(ValueError, match="not all of these blocks are of layer 1"):
            store.read_blocks(1, refs[:1])
        assert store.read_blocks(0, []).shape[0] == 0
        assert len(store.summaries(0, [])) == 0


def test_orphans_are_found_and_pruned(tmp_path: Path) -> None:
    root = samples.fill(tmp_path / "s", 2)
    folder = samples.segment_path(root, 0).parent
    whole = samples.segment_path(root, 1).read_bytes()
    (folder / "00000002.safetensors").write_bytes(whole)
    (folder / "00000002.safetensors.tmp").write_bytes(whole[:100])
    (folder / "mine.txt").write_text("keep")
    lost = root / "videos" / samples.OTHER
    lost.mkdir()
    (lost / "00000000.safetensors").write_bytes(whole)
    (lost / "writer.lock").write_text("")
    with Store.open(root, write=True) as store:
        expected = samples.digest(store)
        orphans = [folder / "00000002.safetensors", folder / "00000002.safetensors.tmp"]
        assert store.orphans()[:2] == orphans
        with store.writer(samples.record(samples.OTHER)):
            assert store.orphans() == orphans  # a living writer's files are its own
        assert store.prune() == orphans
        assert store.orphans() == []
        assert samples.digest(store) == expected
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "00000000.safetensors",
        "00000001.safetensors",
        "mine.txt",
    ]
    assert not lost.exists()


def test_a_new_ingest_clears_what_an_old_one_left(tmp_path: Path) -> None:
    root = samples.fill(tmp_path / "s", 1)
    whole = samples.segment_path(root, 0).read_bytes()
    lost = root / "videos" / samples.OTHER
    lost.mkdir()
    for name in ("00000000.safetensors", "00000007.safetensors"):
        (lost / name).write_bytes(whole)
    samples.fill(root, 1, samples.OTHER)
    assert [entry.name for entry in lost.iterdir()] == ["00000000.safetensors"]
    with Store.open(root) as store:
        assert store.orphans() == []
        assert store.segments(samples.OTHER)[0].number == 0


def test_damage_names_video_and_layer(tmp_path: Path) -> None:
    root = samples.fill(tmp_path / "s", 1)
    with Store.open(root) as store:
        found = store.summaries(1, [samples.VIDEO])
        samples.flip(samples.segment_path(root, 0), int(found.offset[0]))
        with pytest.raises(StoreDamaged) as caught:
            store.read_blocks(1, found.refs([0]))
    error = caught.value
    assert (error.video, error.segment, error.layer) == (samples.VIDEO, 0, 1)
    assert str(error).endswith(
        "; streamkv repair drops it and shows the command that ingests its seconds again"
    )
    assert isinstance(found.keys, torch.Tensor)


def test_a_video_removed_while_it_is_read(tmp_path: Path) -> None:
    """Blocks chosen before are gone, or others: an error that says so, and no wrong KV."""
    root = samples.fill(tmp_path / "s", 2)
    again = (
        "import sys; from store import Store; from tests.store import samples\n"
        "with Store.open(sys.argv[1], write=True) as s:\n"
        "    s.remove(samples.VIDEO)\n"
        "    if len(sys.argv) > 2:\n"
        "        with s.writer(samples.record()) as w:\n"
        "            for n in (7, 8): samples.commit(w, layers=samples.layers(n))\n"
    )
    with Store.open(root) as store:
        found = store.summaries(0, [samples.VIDEO])
        command = [sys.executable, "-c", again, str(root)]
        subprocess.run([*command, "again"], check=True)
        with pytest.raises(StoreMissing, match=r"walk.mp4 .*was removed and ingested again while"):
            store.read_blocks(0, found.refs([1]))
        subprocess.run(command, check=True)
        with pytest.raises(StoreMissing, match=r"walk.mp4 .*was removed while it was read"):
            store.read_blocks(0, found.refs([1]))
