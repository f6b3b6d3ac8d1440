"""Logits become log-odds of COVID-19 and a probability per head, for questions and for classes alike."""

import numpy as np
from numpy.typing import NDArray

from model.config import Config
from model.probability import Float64, product_log_odds, sigmoid


def covid_log_odds(logits_NK: NDArray[np.floating], config: Config) -> Float64:
    """Return the log-odds of COVID-19, shape N, before calibration.

    For questions (``sigmoid``) those of the product of the answers; for classes (``softmax``) those of the
    class that holds COVID-19: its logit minus the log of the sum of the others' exponentials.
    """
    own = config.covid_class
    if own is None:
        return product_log_odds(logits_NK)
    others_NK = np.delete(np.asarray(logits_NK, np.float64), own, axis=1)
    result: Float64 = np.asarray(logits_NK, np.float64)[:, own] - np.logaddexp.reduce(others_NK, axis=1)
    return result


def head_probabilities(logits_NK: NDArray[np.floating], config: Config) -> Float64:
    """Return the probability of each head, not calibrated, shape ``(N, K)``."""
    logits = np.asarray(logits_NK, np.float64)
    result: Float64 = sigmoid(logits) if config.link == "sigmoid" else np.exp(head_scores(logits, config))
    return result


def head_scores(logits_NK: NDArray[np.floating], config: Config) -> Float64:
    """Return what ranks films by each head: the logit of a question, the log-probability of a class."""
    logits = np.asarray(logits_NK, np.float64)
    if config.link == "sigmoid":
        return logits
    result: Float64 = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return result
