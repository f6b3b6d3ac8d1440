"""One object safely on disk: its name, its preamble, its hash, and the order of the syncs."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import build_film, to_bytes
from parts import ROOT, need

from dicom_io.errors import DamagedObject, StorageError
from dicom_io.spool import Folder


@pytest.fixture
def spool(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "spool")


def incoming(spool: Folder, encoded: bytes, name: str = "tmpabc.dcm") -> Path:
    path = spool.incoming / name
    path.write_bytes(encoded)
    return path


def stored_files(spool: Folder) -> list[Path]:
    return sorted(path for path in spool.root.rglob("*") if path.is_file())


def test_an_adopted_film_is_named_by_its_hash(spool: Folder) -> None:
    encoded = to_bytes(build_film())
    stored = spool.adopt(incoming(spool, encoded))
    assert stored.name == hashlib.sha256(encoded).hexdigest()
    assert stored.size_bytes == len(encoded)
    assert stored_files(spool) == [spool.root / stored.name[:2] / f"{stored.name}.dcm"]
    assert spool.read(stored.name) == encoded


def test_the_preamble_is_blanked_before_the_film_is_hashed(spool: Folder) -> None:
    encoded = to_bytes(build_film())
    executable = b"MZ\x90" + b"\xcc" * 125 + encoded[128:]
    stored = spool.adopt(incoming(spool, executable))
    assert spool.read(stored.name) == b"\0" * 128 + encoded[128:]
    assert stored.name == hashlib.sha256(encoded).hexdigest()


def test_the_content_hash_does_not_depend_on_the_file_meta(spool: Folder) -> None:
    film, other = build_film(), build_film()
    other.file_meta.ImplementationVersionName = "ANOTHER_SENDER"
    first, second = (spool.adopt(incoming(spool, to_bytes(f))) for f in (film, other))
    assert first.content_sha256 == second.content_sha256
    assert first.name != second.name


def test_the_content_hash_is_that_of_the_bytes_after_the_file_meta(spool: Folder) -> None:
    film = build_film()
    encoded = to_bytes(film)
    start = encoded.index(film["SpecificCharacterSet"].value.encode()) - 8
    assert spool.adopt(incoming(spool, encoded)).content_sha256 == hashlib.sha256(encoded[start:]).hexdigest()


def test_another_pixel_is_another_content_hash(spool: Folder) -> None:
    film = build_film()
    first = spool.adopt(incoming(spool, to_bytes(film)))
    film.PixelData = b"\1" + film.PixelData[1:]
    assert spool.adopt(incoming(spool, to_bytes(film))).content_sha256 != first.content_sha256


def test_a_file_longer_than_a_chunk_is_hashed_whole(spool: Folder) -> None:
    encoded = to_bytes(build_film()) + bytes(3 << 20)
    assert spool.adopt(incoming(spool, encoded)).name == hashlib.sha256(encoded).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 132, 143])
def test_a_stub_of_a_file_is_kept_under_its_hash(spool: Folder, size: int) -> None:
    """Whatever a sender pushes is stored as it came; whether it is DICOM is asked later."""
    stored = spool.adopt(incoming(spool, b"\0" * size))
    assert (stored.size_bytes, len(spool.read(stored.name))) == (size, size)


def test_the_same_bytes_twice_are_one_file(spool: Folder) -> None:
    encoded = to_bytes(build_film())
    first, second = spool.write(encoded), spool.write(encoded)
    assert first == second
    assert len(stored_files(spool)) == 1


def test_a_changed_byte_is_noticed_when_read(spool: Folder) -> None:
    stored = spool.write(to_bytes(build_film()))
    path = spool.path(stored.name)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    for ask in (spool.read, spool.check):
        with pytest.raises(DamagedObject, match="damaged"):
            ask(stored.name)


def test_a_missing_file_is_a_storage_error(spool: Folder) -> None:
    for ask in (spool.read, spool.check):
        with pytest.raises(StorageError, match="No such file"):
            ask("0" * 64)


def test_removing_what_is_gone_is_no_error(spool: Folder) -> None:
    stored = spool.write(b"\0" * 200)
    spool.remove(stored.name)
    spool.remove(stored.name)
    assert stored_files(spool) == []


def test_a_disk_that_refuses_leaves_the_film_where_it_was(spool: Folder) -> None:
    path = incoming(spool, to_bytes(build_film()))
    # A file where the folder would go: root ignores permissions, but not this.
    for number in range(256):
        (spool.root / f"{number:02x}").touch()
    with pytest.raises(StorageError):
        spool.adopt(path)
    assert path.is_file()
    with pytest.raises(StorageError):
        spool.write(to_bytes(build_film()))
    assert list(spool.incoming.iterdir()) == [path], "what was not stored is not left as a part either"


def test_an_absent_folder_is_a_storage_error(spool: Folder) -> None:
    shutil.rmtree(spool.root)
    with pytest.raises(StorageError):
        spool.write(b"\0" * 200)


def test_folders_are_readable_by_their_owner_alone(spool: Folder) -> None:
    stored = spool.write(b"\0" * 200)
    for folder in (spool.incoming, spool.path(stored.name).parent):
        assert folder.stat().st_mode & 0o077 == 0


def test_file_and_folder_are_synced_around_the_rename(tmp_path: Path) -> None:
    """File fsync → rename → fsync of the folder, and the new folder's own parent before that."""
    strace = need("strace", "strace")
    trace, root = tmp_path / "trace", tmp_path / "spool"
    code = (
        "import sys; from pathlib import Path; from dicom_io.spool import Folder; "
        f"folder = Folder(Path({str(root)!r})); path = folder.incoming / 'film.dcm'; "
        "path.write_bytes(bytes(200)); folder.adopt(path)"
    )
    options = ["-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", str(trace)]
    traced = subprocess.run(
        [strace, *options, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "ptrace" in traced.stderr:
        pytest.skip("strace may not trace here (ptrace is not permitted)")
    assert traced.returncode == 0, traced.stderr
    calls = [line.split(" ", 1)[1].strip() for line in trace.read_text().splitlines() if str(root) in line]
    places = [re.sub(r"^(\w+)\(.*?<?(/[^>\",]+).*", r"\1 \2", call) for call in calls]
    (name,) = [p.stem for p in root.glob("??/*.dcm")]
    assert [place.replace(str(root), "") for place in places] == [
        "fsync /incoming/film.dcm",
        "fsync ",
        "rename /incoming/film.dcm",
        f"fsync /{name[:2]}",
    ]
