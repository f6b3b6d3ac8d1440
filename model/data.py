"""The data side of training under one name: films, splits and folds, targets, weights of the draws."""

from model.folds import (
    SUBSETS,
    check_split,
    fold_split,
    folds,
    group_units,
    read_folds,
    read_split,
    split_films,
    write_folds,
    write_split,
)
from model.manifest import EXPECTED, Film, leave_out, manifest_sha256, read_manifest
from model.sampling import sampling_weights
from model.targets import targets

__all__ = [
    "EXPECTED",
    "SUBSETS",
    "Film",
    "check_split",
    "fold_split",
    "folds",
    "group_units",
    "leave_out",
    "manifest_sha256",
    "read_folds",
    "read_manifest",
    "read_split",
    "sampling_weights",
    "split_films",
    "targets",
    "write_folds",
    "write_split",
]
