"""The on-disk store of KV segments: knows tensors and files, nothing of video or models.

Importing it needs no torch; reading block keys or blocks does. The format is described in
docs/store-format.md.
"""

from store.blocks import IOCount
from store.check import Finding, check
from store.codec import CODECS, Codec, codec_of
from store.errors import StoreDamaged, StoreDiskError, StoreError, StoreMissing, StoreRefused
from store.geometry import Geometry
from store.life import make_room
from store.migrate import Migrated, migrate
from store.rebuild import Rebuilt, rebuild
from store.records import BlockSpan, SegmentRecord, VideoRecord
from store.scan import Scan, SegmentKeys
from store.state import Gap, VideoState, find_gaps
from store.store import Store
from store.summaries import BlockRef, LayerSummaries
from store.writer import LayerBlocks, VideoWriter

__all__ = [
    "CODECS",
    "BlockRef",
    "BlockSpan",
    "Codec",
    "Finding",
    "Gap",
    "Geometry",
    "IOCount",
    "LayerBlocks",
    "LayerSummaries",
    "Migrated",
    "Rebuilt",
    "Scan",
    "SegmentKeys",
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
    "check",
    "codec_of",
    "find_gaps",
    "make_room",
    "migrate",
    "rebuild",
]
