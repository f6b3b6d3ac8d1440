"""What training minimises: only what a head is asked counts, and labels are believed a little less."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from model.config import Config

Loss = Callable[[Tensor, Tensor], Tensor]


def masked_loss(smoothing: float) -> Loss:
    """Return binary cross-entropy over the answers that are not NaN, with softened targets."""

    def loss(logits_NK: Tensor, targets_NK: Tensor) -> Tensor:
        asked_NK = ~torch.isnan(targets_NK)
        if not asked_NK.any():
            # One process of several may have drawn nothing; its part of the mean is 0.
            return logits_NK.sum() * 0
        soft = targets_NK[asked_NK] * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits_NK[asked_NK], soft)

    return loss


def class_loss(smoothing: float) -> Loss:
    """Return cross-entropy over the films that belong to a class, with softened targets."""

    def loss(logits_NK: Tensor, targets_NK: Tensor) -> Tensor:
        asked_N = ~torch.isnan(targets_NK).any(dim=1)
        if not asked_N.any():
            return logits_NK.sum() * 0
        return functional.cross_entropy(logits_NK[asked_N], targets_NK[asked_N], label_smoothing=smoothing)

    return loss


def make_loss(config: Config) -> Loss:
    """Return the loss for the config's link and label smoothing."""
    kind = {"sigmoid": masked_loss, "softmax": class_loss}[config.link]
    return kind(config.schedule.label_smoothing)
