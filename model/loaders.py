"""Films on disk to batches: read once and kept, drawn by weight, changed at random."""

import sys
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset

from dicom_io.errors import CxrError
from model import data, processor, transforms
from model.config import Config
from model.sampling import BalancedSampler


class LeanLoader(DataLoader):
    """A loader whose processes are forked without the memory of what was freed before."""

    def __iter__(self) -> Any:
        """Return an iterator over batches; its processes begin here."""
        if self.num_workers:
            processor.give_back()
        return super().__iter__()


def make_loaders(
    config: Config, folder: Path, films: dict[str, list[data.Film]]
) -> tuple[DataLoader, BalancedSampler, DataLoader]:
    """Return the training loader with its sampler, and the validation loader.

    Of several processes each gets its part of a training batch and its part of the validation films.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If a film cannot be read; the message names it.
    ValueError
        If a batch cannot be shared among the processes.
    """
    rank, processes = idist.get_rank(), idist.get_world_size()
    if config.schedule.batch % processes:
        raise ValueError(f"a batch of {config.schedule.batch} cannot be shared among {processes} processes")
    prepared = transforms.training_transform(config.transforms)
    evaluation = transforms.evaluation_transform(config.transforms, from_path=True)
    shown = sys.stderr.isatty()
    try:
        training = CacheDataset(
            _items(config, folder, films["train"]), prepared, num_workers=2, progress=shown
        )
        validated = _items(config, folder, films["validation"])
        part = share(validated, rank, processes)
        validation = CacheDataset(part, evaluation, num_workers=2, progress=shown)
    except RuntimeError as error:
        # MONAI hides what a transform raised behind an error of its own.
        raise error.__cause__ if isinstance(error.__cause__, CxrError) else error from None
    schedule = config.schedule
    sampler = BalancedSampler(data.sampling_weights(films["train"], config), schedule, rank, processes)
    batch = schedule.batch // processes
    loader = LeanLoader(training, batch_size=batch, sampler=sampler, num_workers=schedule.workers)
    return loader, sampler, LeanLoader(validation, batch_size=2 * batch, num_workers=schedule.workers)


def _items(config: Config, folder: Path, films: list[data.Film]) -> list[dict[str, Any]]:
    answers_NK = data.targets(films, config)
    pairs = zip(films, answers_NK, strict=True)
    return [{"image": folder / film.path, "targets": torch.from_numpy(row)} for film, row in pairs]


def share(items: list[dict[str, Any]], rank: int, processes: int) -> list[dict[str, Any]]:
    """Return this process's part; all parts are of one length, as gathering asks.

    Where the items do not divide evenly the first is repeated, asked nothing, so that it counts nowhere.
    """
    missing = -len(items) % processes
    unasked = items[0] | {"targets": torch.full_like(items[0]["targets"], np.nan)}
    return (items + [unasked] * missing)[rank::processes]
