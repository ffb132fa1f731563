"""Bytes on disk for an hour of video, by codec, beside KV as the model computes it."""

from store import CODECS, Store, VideoRecord, VideoState
from streamkv_cli.bench.figure import Figure
from streamkv_cli.model.device import DTYPES


def measure_sizes(store: Store, record: VideoRecord, state: VideoState, fps: float) -> list[Figure]:
    """What the stored blocks take in each codec; all but the blocks themselves is as measured."""
    geometry = record.geometry
    rows = sum(sum(segment.rows()) for segment in store.segments(record.video_id))
    hours = (state.end - state.start) / 3600
    rest = state.bytes - rows * CODECS[record.codec].block_bytes(geometry)
    frame = 2 * geometry.layers * geometry.kv_heads * geometry.tokens * geometry.head_dim
    whole = frame * DTYPES[geometry.dtype].itemsize * fps * 3600
    return [
        Figure(
            f"an hour on disk, {name}",
            "bytes/h",
            [(rows * codec.block_bytes(geometry) + rest) / hours],
            [whole],
            peer_is="KV of every frame, as computed",
            notes={"measured": name == record.codec},
        )
        for name, codec in CODECS.items()
    ]
