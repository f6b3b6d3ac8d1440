"""The data folder: private to its owner, and locked by whoever must be alone in it."""

import fcntl
import os
from pathlib import Path
from typing import IO

PRIVATE = 0o700


class AlreadyUp(Exception):
    """Another process does the same work in this data folder."""


def prepare(data: Path) -> None:
    """Make the folder, let nobody else into it, and make what is written from now on private too.

    The files hold patients' names; a folder that an administrator made for `config.toml` is open to all.
    """
    os.umask(0o077)
    data.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    if data.stat().st_mode & 0o077:
        data.chmod(PRIVATE)


def hold(file: Path, command: str) -> IO[str]:
    """Take a lock file; it is held until the returned file is closed, or its process ends.

    Raises
    ------
    AlreadyUp
        Somebody holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    lock = file.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise AlreadyUp(
            f"expected to be alone in {file.parent}: another `{command}` works there; "
            "stop it, or name another --data"
        ) from error
    return lock
