"""The on-disk store of KV segments: knows tensors and files, nothing of video or models.

Importing it needs no torch; reading block keys or blocks does. The format is described in
docs/store-format.md.
"""

from store.blocks import IOCount
from store.errors import StoreDamaged, StoreDiskError, StoreError, StoreMissing, StoreRefused
from store.rebuild import Rebuilt, rebuild
from store.records import BlockSpan, Geometry, SegmentRecord, VideoRecord, VideoState
from store.store import Store
from store.summaries import BlockRef, LayerSummaries
from store.writer import LayerBlocks, VideoWriter

__all__ = [
    "BlockRef",
    "BlockSpan",
    "Geometry",
    "IOCount",
    "LayerBlocks",
    "LayerSummaries",
    "Rebuilt",
    "SegmentRecord",
    "Store",
    "StoreDamaged",
    "StoreDiskError",
    "StoreError",
    "StoreMissing",
    "StoreRefused",
    "VideoRecord",
    "VideoState",
    "VideoWriter",
    "rebuild",
]
