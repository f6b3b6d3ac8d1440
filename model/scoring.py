"""Many films through the network: logits and the height of the map, for calibration and evaluation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from model.cam import raw_cam
from model.config import TransformConfig
from model.film_reading import read_film
from model.manifest import Film
from model.network import FilmNetwork
from model.transforms import IMAGE, evaluation_transform

BATCH = 16
"""Films in a batch. With more each takes as long, and memory grows: 3.4 GB at 64 against 1.4 GB at 288 px."""


@dataclass(frozen=True)
class Scores:
    """What the network says of N films."""

    logits_NK: NDArray[np.float64]
    """One logit per film and head."""
    cam_top_N: NDArray[np.float64]
    """Largest value of each film's raw map."""


Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""What is done to ``image_HW`` before all else, such as hiding a part (`model.shortcuts.changes`)."""


def film_batches(
    network: FilmNetwork,
    config: TransformConfig,
    folder: Path,
    films: Sequence[Film],
    change: Change | None = None,
) -> Iterator[Tensor]:
    """Yield films by the evaluation transform, in order, as ``batch_NCHW`` where the network is.

    Each film is changed first where a change is given.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If a film cannot be read or is too small; the message names the file.
    """
    transform = evaluation_transform(config)
    device = next(network.parameters()).device
    for start in tqdm(range(0, len(films), BATCH), desc="scoring", unit="batch", disable=None):
        # Threads of PyTorch fill the processor already, so films are read in this process.
        chosen = [read_film(folder, film.path) for film in films[start : start + BATCH]]
        if change is not None:
            chosen = [change(image_HW) for image_HW in chosen]
        batch_NCHW = torch.stack([transform({IMAGE: image_HW})[IMAGE] for image_HW in chosen])
        yield batch_NCHW.to(device).contiguous(memory_format=torch.channels_last)


def score_films(network: FilmNetwork, config: TransformConfig, folder: Path, films: Sequence[Film]) -> Scores:
    """Score films by the evaluation transform, in order.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If a film cannot be read or is too small; the message names the file.
    """
    logits, tops = [], []
    network.eval()
    with torch.inference_mode():
        for batch_NCHW in film_batches(network, config, folder, films):
            features_NCHW = network.features(batch_NCHW)
            logits_NK = network.classify(features_NCHW)
            logits.append(logits_NK.double().cpu().numpy())
            tops.append(raw_cam(network, features_NCHW, logits_NK).amax(dim=(1, 2)).double().cpu().numpy())
    return Scores(np.concatenate(logits), np.concatenate(tops))
