"""The data folder: private to its owner, whoever made it, and locked by whoever must be alone in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker import folder


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(path: Path) -> int:
    return path.stat().st_mode & 0o077


def test_a_folder_that_is_made_is_private_and_so_is_what_is_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder.prepare(data)
    (data / "cxr.sqlite3").touch()
    (data / "spool").mkdir()
    assert [open_to_others(path) for path in (data, *data.iterdir())] == [0, 0, 0]


def test_a_folder_that_an_administrator_made_is_closed_to_others(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    assert open_to_others(data)
    folder.prepare(data)
    assert not open_to_others(data)


def test_a_lock_is_held_until_it_is_closed(tmp_path: Path) -> None:
    lock = folder.hold(tmp_path / "up.lock", "cxr-worker up")
    with pytest.raises(folder.AlreadyUp, match=f"{tmp_path}.*another `cxr-worker up` works there"):
        folder.hold(tmp_path / "up.lock", "cxr-worker up")
    folder.hold(tmp_path / "listener.lock", "cxr-worker listen").close()
    lock.close()
    folder.hold(tmp_path / "up.lock", "cxr-worker up").close()
