"""Heads that start as a linear probe of the frozen start, so that training need not bend the backbone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from model.config import Config
from model.engines import Inferer
from model.manifest import Film
from model.network import FilmNetwork
from model.sampling import answer_weights
from model.scoring import Change, film_batches
from model.targets import targets

MOST_ITERATIONS = 5000


def probe_heads(network: FilmNetwork, config: Config, folder: Path, films: Sequence[Film]) -> None:
    """Put the heads where ridge logistic regression on the frozen features has them.

    Fine-tuning from random heads distorts features that were good elsewhere; from a fitted probe it does so
    less (Kumar 2022, arXiv:2202.10054). Every feature has mean 0 and deviation 1 over the films that are
    asked; the films weigh as training draws them; ``schedule.probe`` is the ridge's weight against the mean
    loss of a film. Heads that are classes are fitted together.

    Parameters
    ----------
    network
        Whose heads change. Its features must be pooled: a head that weighs every cell has no probe.
    config
        The heads and the ridge.
    folder
        What the films' paths are relative to.
    films
        The training films.

    Raises
    ------
    ValueError
        If the network's heads weigh every cell, or a head has one answer only.
    dicom_io.errors.UnreadablePixels
        If a film cannot be read.
    """
    if network.entry.flattens:
        raise ValueError(f"{network.entry.name} has no pooled features to probe: set schedule.probe to 0")
    features_NC = frozen_features(network, config, folder, films)
    answers_NK = targets(films, config)
    weights_NK = answer_weights(films, config)
    if config.link == "softmax":
        asked_N = ~np.isnan(answers_NK).any(axis=1)
        class_N = answers_NK[asked_N].argmax(axis=1)
        heads = _fitted(features_NC[asked_N], class_N, weights_NK[asked_N, 0], config)
        _set(network, slice(None), heads)
        return
    for k, head in enumerate(config.heads):
        asked_N = ~np.isnan(answers_NK[:, k])
        answer_N = answers_NK[asked_N, k].astype(np.int64)
        if len(set(answer_N.tolist())) < 2:
            raise ValueError(f"head {head.name}: every training film has the same answer")
        _set(
            network, slice(k, k + 1), _fitted(features_NC[asked_N], answer_N, weights_NK[asked_N, k], config)
        )


def frozen_features(
    network: FilmNetwork,
    config: Config,
    folder: Path,
    films: Sequence[Film],
    change: Change | None = None,
) -> NDArray[np.float64]:
    """Return pooled features ``features_NC`` of films by the network as it is.

    Films are not augmented; a change is made to each before all else, where one is given.
    """
    pool = Inferer(config.schedule.precision, next(network.parameters()).device)

    def pooled(batch_NCHW: Tensor) -> Tensor:
        return network.features(batch_NCHW).mean(dim=(2, 3))

    was_training = network.training
    network.eval()
    with torch.inference_mode():
        batches = film_batches(network, config.transforms, folder, films, change)
        parts = [pool(batch_NCHW, pooled).cpu().numpy() for batch_NCHW in batches]
    network.train(was_training)
    return np.concatenate(parts).astype(np.float64)


Heads = tuple[NDArray[np.float64], NDArray[np.float64]]


def _fitted(
    features_NC: NDArray[np.float64],
    answer_N: NDArray[np.int64],
    weights_N: NDArray[np.float64],
    config: Config,
) -> Heads:
    # scikit-learn's C weighs the sum of losses against half the squared weights.
    weights_N = weights_N / weights_N.sum()
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=1 / config.schedule.probe, max_iter=MOST_ITERATIONS)
    )
    probe.fit(features_NC, answer_N, logisticregression__sample_weight=weights_N)
    scaler, fitted = probe[0], probe[1]
    weight_KC = fitted.coef_ / scaler.scale_
    bias_K = fitted.intercept_ - weight_KC @ scaler.mean_
    if config.link == "softmax" and len(weight_KC) == 1:
        return np.concatenate([-weight_KC, weight_KC]) / 2, np.concatenate([-bias_K, bias_K]) / 2
    return weight_KC, bias_K


def _set(network: FilmNetwork, rows: slice, heads: Heads) -> None:
    weight_KC, bias_K = heads
    with torch.no_grad():
        network.heads.weight[rows] = torch.from_numpy(weight_KC).to(network.heads.weight)
        network.heads.bias[rows] = torch.from_numpy(bias_K).to(network.heads.bias)
