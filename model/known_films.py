"""Which films a model already knows, by the split file in its folder."""

from collections.abc import Sequence
from pathlib import Path

from model.folds import SPLIT, read_split

TRAINED = ("train", "validation")
"""Subsets whose films made the network: it is too sure of them to be calibrated on them."""
LEARNED = (*TRAINED, "calibration")
"""Subsets whose films made a model what it is: figures on them are too good."""


def split_in(folder: Path) -> Path | None:
    """Return the split file of a model folder; None where the folder has none."""
    return folder / SPLIT if (folder / SPLIT).is_file() else None


def paths_in(split: Path | None, subsets: Sequence[str]) -> frozenset[str]:
    """Return the paths that a split file gives to any of the subsets; none where there is no split file.

    A film is known by its path alone, as the manifest of the split names it: the same film under another
    path is not recognised, and another film under the same path is taken for it.

    Raises
    ------
    ValueError
        If it is no split file.
    """
    subset_of = read_split(split) if split is not None else {}
    return frozenset(path for path, subset in subset_of.items() if subset in subsets)
