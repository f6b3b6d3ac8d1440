"""Films that look alike, found over all pairs: a copy on both sides of a split is a wrong figure."""

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_io.errors import CxrError
from model.predict import MIN_SIDE_PX
from model.transforms import load_film
from model.whole_files import write_whole

SIDE = 16
"""The hash has SIDE x SIDE bits: is a cell brighter than its left neighbour?"""
WORDS = SIDE * SIDE // 64
MOST_BITS = 14
"""Hashes that differ in at most so many of 256 bits belong to one film, as a rule."""
BLOCK = 512
"""Rows of the table of pairs that are compared at once."""

log = logging.getLogger(__name__)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Look:
    """What one look at a file says: why it cannot be used, or its hash."""

    reason: str
    """Empty where the film can be used."""
    words: tuple[int, ...]
    """The difference hash as 64-bit numbers."""


def difference_hash(image_HW: NDArray[np.float32]) -> tuple[int, ...]:
    """Return the difference hash of a film: 256 bits in four numbers.

    The film is averaged to 16 rows of 17 cells; a bit says whether a cell is brighter than the one before
    it. Brightness, contrast and size leave it as it is.
    """
    small = Image.fromarray(image_HW).resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    cells = np.asarray(small)
    bits = (cells[:, 1:] > cells[:, :-1]).reshape(-1)
    return tuple(int(word) for word in np.packbits(bits).view(np.uint64))


def look_at(path: Path) -> Look:
    """Read a film and return its hash, or why it cannot be used."""
    try:
        image_HW = load_film(path)
    except CxrError as error:
        return Look(str(error), (0,) * WORDS)
    rows, columns = image_HW.shape
    if min(rows, columns) < MIN_SIDE_PX:
        return Look(f"{rows} x {columns} pixels, expected at least {MIN_SIDE_PX} a side", (0,) * WORDS)
    if not np.isfinite(image_HW).all():
        return Look("a grey value is no finite number", (0,) * WORDS)
    if float(np.ptp(image_HW)) == 0:
        return Look("all pixels have one grey value", (0,) * WORDS)
    return Look("", difference_hash(image_HW))


def look_at_all(folder: Path, paths: Sequence[str], cache: Path | None = None) -> list[Look]:
    """Look at files, in order; a file that has not changed since it was looked at is not read again.

    Parameters
    ----------
    folder
        The paths are relative to it.
    paths
        The files.
    cache
        A file that keeps what was seen, by path, size and time of change; None keeps nothing. A film that
        could not be used is looked at anew: what kept it from being read may leave no trace in the file.
    """
    known = _read_cache(cache) if cache is not None else {}
    keys = [state_of(folder / path) for path in paths]
    fresh = [(key, folder / path) for key, path in zip(keys, paths, strict=True) if key not in known]
    # Decoding leaves Python's lock, so threads share the work.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looked = pool.map(lambda item: look_at(item[1]), fresh)
        known |= {key: look for (key, _), look in zip(fresh, looked, strict=True)}
    if cache is not None and fresh:
        _write_cache(cache, known)
    return [known[key] for key in keys]


def _read_cache(cache: Path) -> dict[str, Look]:
    try:
        stored = json.loads(cache.read_text())
        return {key: Look(reason, tuple(words)) for key, (reason, words) in stored.items() if not reason}
    except (OSError, ValueError, TypeError, AttributeError):
        # Missing, or not ours: then every film is looked at again.
        return {}


def _write_cache(cache: Path, known: dict[str, Look]) -> None:
    stored = json.dumps({key: (look.reason, look.words) for key, look in known.items() if not look.reason})
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cache, stored.encode())
    except OSError as error:
        log.warning("what was seen of the films is not remembered: %s", error)


def state_of(path: Path) -> str:
    """Return the path of a file with its size and time of change: while they stay, so does what was seen."""
    try:
        state = path.stat()
    except OSError:
        return f"{path.absolute()}|missing"
    return f"{path.absolute()}|{state.st_size}|{state.st_mtime_ns}"


def close_pairs(hashes_NW: Hashes, most_bits: int = MOST_BITS) -> list[tuple[int, int, int]]:
    """Return (first, second, differing bits) of all pairs that differ in at most `most_bits` bits.

    Every pair is compared, in blocks: 22,771 films are 259 million pairs.
    """
    pairs: list[tuple[int, int, int]] = []
    for start in range(0, len(hashes_NW), BLOCK):
        rows_BW = hashes_NW[start : start + BLOCK]
        distance_BN = np.zeros((len(rows_BW), len(hashes_NW) - start), np.uint16)
        for word in range(hashes_NW.shape[1]):
            distance_BN += np.bitwise_count(rows_BW[:, None, word] ^ hashes_NW[None, start:, word])
        first, second = np.nonzero(distance_BN <= most_bits)
        later = second > first
        found = zip(first[later], second[later], distance_BN[first[later], second[later]], strict=True)
        pairs += [(start + int(i), start + int(j), int(bits)) for i, j, bits in found]
    return pairs
