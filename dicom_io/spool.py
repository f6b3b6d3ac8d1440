"""One object safely on disk: write, fsync, rename to the name of its hash, fsync the folder.

After `Folder.adopt` or `Folder.write` has returned, the object survives a power cut.
Names are hashes, never UIDs: a UID is text that a stranger chose.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from dicom_io.errors import DamagedObject, StorageError

CHUNK_BYTES = 1 << 20
PREAMBLE_BYTES = 128
_META_GROUP_LENGTH_END = PREAMBLE_BYTES + 4 + 12
"""Preamble, `DICM`, and element (0002,0000) UL in Explicit VR Little Endian (PS3.10 section 7.1)."""


@dataclass(frozen=True)
class StoredObject:
    """An object that is on disk and synced."""

    name: str
    """SHA-256 of the whole file, hexadecimal: its name in the folder."""
    content_sha256: str
    """SHA-256 of the data set alone, without preamble and file meta information."""
    size_bytes: int


class Folder:
    """A folder of DICOM files named by their hash.

    Parameters
    ----------
    root
        The folder; made when it is absent. `root/incoming` holds what is still being received, so
        that the rename stays on one file system.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, name: str) -> Path:
        """Where the object of that hash lies."""
        return self.root / name[:2] / f"{name}.dcm"

    def adopt(self, incoming: Path) -> StoredObject:
        """Sync a received part-10 file and move it to its final name.

        Raises
        ------
        StorageError
            The disk refused; the file is then still where it was.
        """
        try:
            with incoming.open("r+b") as file:
                _blank_preamble(file)
                stored = _hash_part10(file)
                os.fsync(file.fileno())
            target = self._make_place(stored.name)
            incoming.rename(target)
            _fsync_folder(target.parent)
        except OSError as error:
            raise StorageError(
                f"expected to store a received object in {self.root}: {error.strerror}"
            ) from error
        return stored

    def write(self, encoded: bytes) -> StoredObject:
        """Store a part-10 file that is in memory; writing the same bytes twice keeps one file.

        Raises
        ------
        StorageError
            The disk refused; nothing is left under the final name.
        """
        temporary = self.incoming / f"{os.getpid()}-{os.urandom(8).hex()}.part"
        try:
            with temporary.open("xb") as file:
                file.write(encoded)
            return self.adopt(temporary)
        except OSError as error:
            raise StorageError(f"expected to write an object in {self.root}: {error.strerror}") from error
        finally:
            # What is left is a part of a file, on a disk that may be full.
            temporary.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Return the bytes of a stored object, checked against its hash.

        Raises
        ------
        StorageError
            The file is missing or unreadable: a folder that is not mounted comes back.
        DamagedObject
            The bytes are no longer what was stored.
        """
        with self._opened(name) as file:
            encoded = file.read()
        self._prove(name, hashlib.sha256(encoded).hexdigest())
        return encoded

    def check(self, name: str) -> None:
        """Prove that a stored object is there and is what was stored, without taking it into memory.

        Raises
        ------
        StorageError
            The file is missing or unreadable: a folder that is not mounted comes back.
        DamagedObject
            The bytes are no longer what was stored.
        """
        with self._opened(name) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._prove(name, digest)

    def remove(self, name: str) -> None:
        """Remove a stored object; one that is gone already is no error."""
        self.path(name).unlink(missing_ok=True)

    @contextmanager
    def _opened(self, name: str) -> Iterator[BufferedReader]:
        try:
            with self.path(name).open("rb") as file:
                yield file
        except OSError as error:
            raise StorageError(f"expected object {name[:12]} in {self.root}: {error.strerror}") from error

    def _prove(self, name: str, digest: str) -> None:
        if digest != name:
            raise DamagedObject(f"object {name[:12]} in {self.root} is damaged: its hash no longer fits")

    def _make_place(self, name: str) -> Path:
        target = self.path(name)
        if not target.parent.is_dir():
            with suppress(FileExistsError):
                target.parent.mkdir(mode=0o700)
            _fsync_folder(self.root)
        return target


def _blank_preamble(file: BinaryIO) -> None:
    """Overwrite the 128 free bytes before `DICM`, where an executable could hide (PS3.10 section 7.5)."""
    file.seek(0)
    if file.read(PREAMBLE_BYTES).strip(b"\0"):
        file.seek(0)
        file.write(b"\0" * PREAMBLE_BYTES)
        file.flush()


def _hash_part10(file: BinaryIO) -> StoredObject:
    """Hash the whole file and its data set in one pass."""
    file.seek(0)
    head = file.read(_META_GROUP_LENGTH_END)
    meta_bytes = int.from_bytes(head[-4:], "little") if head[132:136] == b"\x02\x00\x00\x00" else 0
    head += file.read(meta_bytes)
    whole, content = hashlib.sha256(head), hashlib.sha256()
    size = len(head)
    while chunk := file.read(CHUNK_BYTES):
        whole.update(chunk)
        content.update(chunk)
        size += len(chunk)
    return StoredObject(name=whole.hexdigest(), content_sha256=content.hexdigest(), size_bytes=size)


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable; POSIX says nothing about it before the folder itself is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
