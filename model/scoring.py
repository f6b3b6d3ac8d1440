"""Many films through the network: logits and the height of the map, for calibration and evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from numpy.typing import NDArray

from model.config import TransformConfig
from model.data import Film
from model.explain import raw_cam
from model.network import FilmNetwork
from model.transforms import IMAGE, evaluation_transform


@dataclass(frozen=True)
class Scores:
    """What the network says of N films."""

    logits_NK: NDArray[np.float64]
    """One logit per film and head."""
    cam_top_N: NDArray[np.float64]
    """Largest value of each film's raw map."""


def score_films(network: FilmNetwork, config: TransformConfig, folder: Path, films: Sequence[Film]) -> Scores:
    """Score films by the evaluation transform, in order.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If a film cannot be read; the message names the file.
    """
    items = [{IMAGE: folder / film.path} for film in films]
    # Threads of PyTorch fill the processor already, so films are read in this process.
    loader = DataLoader(Dataset(items, evaluation_transform(config, from_path=True)), batch_size=64)
    device = next(network.parameters()).device
    logits, tops = [], []
    network.eval()
    with torch.inference_mode():
        for batch in loader:
            batch_NCHW = batch[IMAGE].to(device).contiguous(memory_format=torch.channels_last)
            features_NCHW = network.features(batch_NCHW)
            logits_NK = network.classify(features_NCHW)
            logits.append(logits_NK.double().cpu().numpy())
            tops.append(raw_cam(network, features_NCHW, logits_NK).amax(dim=(1, 2)).double().cpu().numpy())
    return Scores(np.concatenate(logits), np.concatenate(tops))
