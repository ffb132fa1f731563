"""A segment file without its damaged attachments: a picture is no reason to lose blocks."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from store import layout
from store.attached import read_attachment
from store.blocks import verified_rows
from store.disk import write_at
from store.records import with_bytes
from store.segment_file import SegmentHead, new_file, read_head, sealed_head


def without(head: SegmentHead, names: Container[str]) -> SegmentHead:
    """The head of the same segment's file without the attachments `names`; nothing is written."""
    kept = {key: found for key, found in head.segment.attachments.items() if key not in names}
    segment = replace(head.segment, attachments=kept)
    plan = layout.plan(layout.record_text(head.video, segment), head.video, segment)
    return SegmentHead(head.video, with_bytes(segment, plan.total), head.tables, plan)


def rewrite(path: Path, head: SegmentHead) -> None:
    """Put the file of `head`, which `without` made, in the place of the one with more attachments.

    Raises:
        StoreDamaged: a block or an attachment is not as written; the file stays as it was.
        StoreDiskError: likewise, or the disk failed.
    """
    old = read_head(path)
    with new_file(path) as fd:
        at = head.layout.kv[0]
        for row in verified_rows(path, old):  # layers lie one behind the other
            write_at(fd, row, at)
            at += len(row)
        for name, start in head.layout.attachments.items():
            data = read_attachment(path.parent.parent, old.video, old.segment, name)
            write_at(fd, memoryview(data), start)
        write_at(fd, memoryview(sealed_head(head.layout, head.tables)), 0)
