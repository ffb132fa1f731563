"""A file or a stream -> frames: one sampled picture each, with its presentation time in seconds.

The picture a player would show at `t_k = t_0 + k / fps` is sample k. Decoding happens in a child
process, a bounded distance ahead (see `child`); this package imports no decoder.
"""

from streamkv_cli.video.fingerprint import fingerprint
from streamkv_cli.video.frame import Frame, VideoInfo
from streamkv_cli.video.locate import Place, locate
from streamkv_cli.video.reader import FrameReader, open_video

__all__ = ["Frame", "FrameReader", "Place", "VideoInfo", "fingerprint", "locate", "open_video"]
