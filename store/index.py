"""The LMDB index: opened safely, read in short snapshots, changed in single transactions.

LMDB trusts its file, so the file is checked before LMDB looks at it (`store.index_check`).
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lmdb

from store.coarse import DATABASE as COARSE
from store.entries import COMMIT_KEY, FORMAT_KEY, seal
from store.errors import StoreDamaged, StoreDiskError, StoreError, StoreRefused, disk_errors
from store.index_check import DATA, REBUILD, check_index, note_commit
from store.layout import FORMAT, READABLE
from store.watch import Watch

FOLDER = "index.lmdb"
DATABASES = ("meta", "videos", "segments", "summaries", COARSE)
_NEWER = (COARSE,)
"""Databases that an index may lack, being older than they are; the first write makes them."""
_MAP_SIZE = 64 << 30  # sparse address space, not memory
_LEAST_MAP = 64 << 20
_FEW_BLOCKS = 16
_COMMITS_A_MAP = 64
_AT_ONCE = 64
"""Entries that are copied out after one look at the index's length: some 50 microseconds' worth."""

Put = tuple[str, bytes, bytes]
Delete = tuple[str, bytes]


class Index:
    """One LMDB environment with its named databases.

    Args:
        folder: the environment's folder.
        write: open for writing.
        create: make a new one; the folder does not exist or is empty.

    Attributes:
        unlocked: why readers' locks are off, "" where they are on. Without them a reader
            beside a writer may see pages change; checksums turn that into an error.
        format: the format it was written in.
    """

    def __init__(self, folder: Path, *, write: bool, create: bool = False) -> None:
        self.folder = folder
        self.unlocked = ""
        self._lock = threading.RLock()
        if not create:
            check_index(folder)
        self._stopped = ""
        self._commits = self._reading = 0
        self._dbs: dict[str, Any] = {}
        with _lmdb_errors(folder):
            self._env = self._open(write, create)
            try:
                self._watch = Watch(folder)
            except BaseException:
                self._env.close()
                raise
            try:
                if create or not write:
                    self._dbs = self._databases(None, create)
                if not self.unlocked:
                    self._env.reader_check()
                self._sign_or_check(create)
            except BaseException:
                self.close()
                raise

    def _sign_or_check(self, create: bool) -> None:
        """The index names its own format, apart from the store's marker."""
        signatures = {seal(FORMAT_KEY, b"%d" % number): number for number in READABLE}
        if create:
            self.write([("meta", FORMAT_KEY, seal(FORMAT_KEY, b"%d" % FORMAT))])
        with self.read() as snapshot:
            found = bytes(snapshot.get("meta", FORMAT_KEY) or b"")
            number, commit = snapshot.number, snapshot.get("meta", COMMIT_KEY)
        # A flip in the number of the older of the two meta pages makes it seem the newer one.
        if commit not in (None, seal(COMMIT_KEY, b"%d" % number)):
            raise StoreDamaged(
                f"the index is damaged (it is not of commit {number}): {self.folder}", REBUILD
            )
        if found not in signatures:
            raise StoreDamaged(f"the index is not of format {FORMAT}: {self.folder}", REBUILD)
        self.format = signatures[found]

    @property
    def current(self) -> bool:
        """Whether it is still what lies in its folder."""
        return self._watch.current

    def close(self) -> None:
        """Close the environment; may be called twice."""
        self._watch.mend()
        self._env.close()
        self._watch.close()

    @contextmanager
    def read(self, *, views: bool = False) -> Iterator[Snapshot]:
        """One consistent view; keep it short: while it lasts, no page is used again.

        Args:
            views: for `Snapshot.view`.
        """
        with self._lock, _lmdb_errors(self.folder):
            txn = self._begin(write=False, buffers=views)
            self._reading += 1
            try:
                dbs = self._dbs or self._databases(txn, create=False)
                yield Snapshot(txn, dbs, self._watch)
            finally:
                self._reading -= 1
                self._watch.mend()
                txn.abort()

    def write(self, puts: Iterable[Put] = (), deletes: Iterable[Delete] = ()) -> None:
        """Make all of these changes durable in one transaction, or none of them.

        Raises:
            StoreDiskError: the disk or the map is full; nothing has changed, and this index takes
                no more: what a failed fsync was to write may be lost, and a second one would
                report success for it.
        """
        puts, deletes = list(puts), list(deletes)
        with self._lock, _lmdb_errors(self.folder):
            if self._stopped:
                raise StoreDiskError(
                    f"an earlier write of the index failed ({self._stopped})", "run again"
                )
            while True:
                try:
                    self._write(puts, deletes)
                except lmdb.MapFullError:  # the transaction is lost: larger map, once more
                    self._grow()
                except (lmdb.Error, OSError) as error:
                    self._stopped = str(error)
                    raise
                else:
                    return self._let_go()

    def _let_go(self) -> None:
        """Map the file anew from time to time, so that a long ingest does not seem to grow.

        Every page that was ever looked at counts as the process's memory until then.
        """
        self._commits += 1
        if self._commits % _COMMITS_A_MAP == 0 and not self._reading:
            self._env.set_mapsize(self._env.info()["map_size"])

    def _write(self, puts: Sequence[Put], deletes: Sequence[Delete]) -> None:
        txn = self._begin(write=True)
        try:
            databases = self._dbs
            if len(databases) < len(DATABASES):
                databases = self._databases(txn, create=True)
            for name, key in deletes:
                txn.delete(key, db=databases[name])
            for name, key, value in puts:
                txn.put(key, value, db=databases[name])
            number = seal(COMMIT_KEY, b"%d" % txn.id())
            txn.put(COMMIT_KEY, number, db=databases["meta"])
            self._lengthen(txn, [txn.stat(db) for db in databases.values()], puts, len(deletes))
            txn.commit()
            self._dbs = databases
            note_commit(self.folder, self._env.info()["last_txnid"])
        finally:
            txn.abort()  # does nothing after a commit

    def _databases(self, txn: Any, create: bool) -> dict[str, Any]:
        """Open the named databases: for this transaction only, until one that writes has done it.

        A writer that opened them as it starts would wait for the transaction of another, without
        an end where that one is stopped (Ctrl-Z), and could not say who has the video.
        """
        found = {}
        for name in DATABASES:
            try:
                found[name] = self._env.open_db(name.encode(), txn=txn, create=create)
            except lmdb.NotFoundError:
                if name not in _NEWER:
                    raise
        return found

    def _lengthen(
        self, txn: Any, stats: Sequence[dict[str, int]], puts: Sequence[Put], deletes: int
    ) -> None:
        """Make the file long enough (sparse) for every page this transaction may add.

        LMDB does not always write the last pages it counts, so the file may end before the
        count. Never letting that happen makes "too short" mean "truncated", and nothing else.
        """
        page = self._env.stat()["psize"]
        nodes = sum(s["branch_pages"] + s["leaf_pages"] for s in stats)
        overflow = sum(s["overflow_pages"] for s in stats)
        values = sum(len(value) // page + 2 for _, _, value in puts)
        touched = min(nodes, 16 * (len(puts) + deletes))
        freed = (overflow + nodes) * 8 // page  # the list of pages given free
        pages = 64 + values + touched + 4 * len(puts) + 2 * freed
        wanted = (self._env.info()["last_pgno"] + 1 + pages) * page
        path = self.folder / DATA
        self._watch.step()  # or a file that was cut short would be filled up with zeros
        with disk_errors(path):
            if os.stat(path).st_size < wanted:
                os.truncate(path, wanted)

    def _begin(self, *, write: bool, buffers: bool = False) -> Any:
        env: Any = self._env  # its type tells views from copies, by constants only
        self._watch.begin()
        while True:
            try:
                return env.begin(write=write, buffers=buffers)
            except lmdb.MapResizedError:
                self._env.set_mapsize(0)  # another process grew it: take over its size

    def _grow(self) -> None:
        size = self._env.info()["map_size"]
        try:
            self._env.set_mapsize(2 * size)
        except (lmdb.Error, OverflowError) as error:
            raise StoreDiskError(
                f"the index cannot grow beyond {size >> 20} MiB: {self.folder}",
                "raise the limit on address space (ulimit -v), or start another store",
            ) from error

    def _open(self, write: bool, create: bool) -> lmdb.Environment:
        try:
            return _open_largest(self.folder, readonly=not write, create=create, lock=True)
        except lmdb.Error as error:
            if write or error.code not in (errno.EACCES, errno.EROFS, errno.EPERM):
                raise
        # A reader needs to write lock.mdb; where it may not, it can still read.
        env = _open_largest(self.folder, readonly=True, create=False, lock=False)
        self.unlocked = f"no permission to write {self.folder / 'lock.mdb'}"
        return env


class Snapshot:
    """One read transaction: what the index held at one moment."""

    def __init__(self, txn: Any, dbs: dict[str, Any], watch: Watch) -> None:
        self._txn = txn
        self._dbs = dbs
        self._watch = watch

    @property
    def number(self) -> int:
        """Of the last commit that it holds."""
        found: int = self._txn.id()
        return found

    def get(self, database: str, key: bytes) -> bytes | None:
        """The value of `key`, copied."""
        value = self.view(database, key)
        return None if value is None else bytes(value)

    def view(self, database: str, key: bytes) -> memoryview | None:
        """The value of `key` in the index's own pages, where the snapshot was taken for views.

        Copy out at once what is wanted: see `Watch`.
        """
        self._watch.step()
        if database not in self._dbs:
            return None
        value: memoryview | None = self._txn.get(key, db=self._dbs[database])
        return value

    def get_many(self, database: str, keys: Sequence[bytes]) -> Iterator[bytes | None]:
        """The value of each key in turn, copied: a fraction of the work of `get` for each."""
        if database not in self._dbs:
            yield from [None] * len(keys)
            return
        with self._txn.cursor(db=self._dbs[database]) as cursor:
            for at in range(0, len(keys), _AT_ONCE):
                some = keys[at : at + _AT_ONCE]
                self._watch.step()
                found = {bytes(key): bytes(value) for key, value in cursor.getmulti(some)}
                yield from map(found.get, some)

    def scan(self, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All (key, value) whose key begins with `prefix`, in order of the keys, copied."""
        for cursor in self._cursor(database, prefix):
            yield cursor.item()

    def keys(self, database: str, prefix: bytes = b"") -> Iterator[bytes]:
        """All keys that begin with `prefix`, in order; values are not touched."""
        for cursor in self._cursor(database, prefix):
            yield cursor.key()

    def _cursor(self, database: str, prefix: bytes) -> Iterator[Any]:
        """A cursor on each entry in turn whose key begins with `prefix`."""
        self._watch.step()
        if database not in self._dbs:
            return
        with self._txn.cursor(db=self._dbs[database]) as cursor:
            there = cursor.set_range(prefix) if prefix else cursor.first()
            while there and bytes(cursor.key()).startswith(prefix):
                yield cursor
                self._watch.step()
                there = cursor.next()


def _open_largest(folder: Path, *, readonly: bool, create: bool, lock: bool) -> lmdb.Environment:
    """Reserve as much address space as the system allows, up to 64 GiB."""
    size = _MAP_SIZE
    while True:
        try:
            return lmdb.open(
                str(folder),
                map_size=size,
                readonly=readonly,
                create=create,
                lock=lock,
                max_dbs=len(DATABASES) + 4,
                max_readers=254,
                mode=0o777,
                lib_version=0,  # the package bundles two incompatible file formats
            )
        except lmdb.Error as error:
            if error.code != errno.ENOMEM or size <= _LEAST_MAP:
                raise
            size //= 2


@contextmanager
def _lmdb_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise _named(error, folder) from error


def _named(error: Any, folder: Path) -> StoreError:
    if "already open in this process" in str(error):
        return StoreRefused(f"the store is already open in this process: {folder.parent}")
    if isinstance(error, lmdb.ReadersFullError):
        return StoreRefused(f"too many readers at once: {folder}", "wait until some have ended")
    code = getattr(error, "code", 0)
    if code == errno.EIO and _is_full(folder):
        code = errno.ENOSPC  # LMDB calls a write that stopped in the middle an I/O error
    if isinstance(code, int) and code > 0:
        return StoreDiskError.of(OSError(code, os.strerror(code)), folder)
    return StoreDamaged(f"the index does not read ({error}): {folder}", REBUILD)


def _is_full(folder: Path) -> bool:
    with suppress(OSError):
        return os.statvfs(folder).f_bavail < _FEW_BLOCKS
    return False
