"""docs/store-format.md is true: its worked example is a real file's bytes."""

import re
from pathlib import Path

import lmdb
import pytest
import torch
import xxhash

from store import BlockSpan, Geometry, LayerBlocks, Store
from tests.store import samples

DOC = Path(__file__).parents[2] / "docs" / "store-format.md"
GEOMETRY = Geometry(layers=1, kv_heads=1, tokens=1, head_dim=2, dtype="float32")


def _example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```\w*\n(.*?)\n```", DOC.read_text(), re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    record = samples.record(geometry=GEOMETRY, profile={"fps": 0.5}, notes={})
    kv = torch.arange(1.0, 9.0).reshape(2, 2, 1, 1, 2)
    layer = LayerBlocks([0, 1], kv, torch.tensor([[[0.5, -0.5]], [[0.25, 0.0]]]))
    with Store.open(tmp_path / "s", create=True) as store, store.writer(record) as writer:
        span = BlockSpan(0.0, 2.0, 1)
        writer.commit(0, 0.0, 2.0, 1, [span], [layer], summary=True, final=True)
    return tmp_path / "s"


def test_the_header_and_data_of_the_example(root: Path) -> None:
    raw = samples.segment_path(root, 0).read_bytes()
    header = _example("header").encode()
    size = int.from_bytes(raw[:8], "little")
    assert raw[8 : 8 + size] == header + b" " * (size - len(header))
    assert f"Bytes 0 to 7 say {size}" in DOC.read_text()
    assert f"{len(header)} bytes of JSON and {size - len(header)} spaces" in DOC.read_text()
    assert f"The file is {len(raw)} bytes" in DOC.read_text()
    assert raw[8 + size :] == bytes.fromhex(_example("data"))


def test_the_checksums_as_the_page_defines_them(root: Path) -> None:
    raw = bytearray(samples.segment_path(root, 0).read_bytes())
    stored = int.from_bytes(raw[976:984], "little")
    raw[976:984] = bytes(8)
    assert xxhash.xxh3_64_intdigest(raw[:1024]) == stored
    rows = [raw[1024:1040], raw[1040:1056]]
    sums = [int.from_bytes(raw[at : at + 8], "little") for at in (984, 992)]
    assert [xxhash.xxh3_64_intdigest(row) for row in rows] == sums


def test_the_index_entries_of_the_example(root: Path) -> None:
    with lmdb.open(str(root / "index.lmdb"), max_dbs=8, readonly=True, lib_version=0) as env:
        for example, database in (("summary", b"summaries"), ("coarse", b"coarse")):
            key, _, value = _example(example).partition("\n")
            with env.begin(db=env.open_db(database, create=False)) as txn:
                assert list(txn.cursor()) == [(bytes.fromhex(key), bytes.fromhex(value))]
        with env.begin() as txn:
            names = sorted(key.decode() for key, _ in txn.cursor())
    assert re.findall(r"^\| `(\w+)` \| (?:`format`|video id|layer)", DOC.read_text(), re.M) == [
        "meta",
        "videos",
        "segments",
        "summaries",
        "coarse",
    ]
    assert names == ["coarse", "meta", "segments", "summaries", "videos"]
