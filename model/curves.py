"""ROC, precision-recall, reliability and decision curves as plain values, for pictures and for others."""

from typing import Any

import numpy as np

from model.metrics import Float64, Scored, net_benefit, reliability

MOST_POINTS = 400
"""Points of a curve at most: a picture shows no more, and the file stays small."""
BENEFIT_AT = np.arange(1, 100) / 100
"""Threshold probabilities of the decision curve."""


def curves_of(scored: Scored) -> dict[str, Any]:
    """Return every curve of films of both classes, by scikit-learn where it has it."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    truth_N, p_N = scored.is_covid_N, scored.probability_N
    fpr, tpr, thresholds = roc_curve(truth_N, p_N)
    # The curve starts above every score; 1 is the largest probability there is, and JSON knows no infinity.
    roc = _thinned(false_positive_rate=fpr, true_positive_rate=tpr, threshold=np.minimum(thresholds, 1.0))
    precision, recall, _ = precision_recall_curve(truth_N, p_N)
    benefit = {name: np.round(values, 5).tolist() for name, values in net_benefit(scored, BENEFIT_AT).items()}
    return {
        "roc": roc,
        "precision_recall": _thinned(recall=recall[::-1], precision=precision[::-1]),
        "reliability": reliability(scored),
        "net_benefit": {"threshold": BENEFIT_AT.tolist(), **benefit},
        "share_of_covid": float(truth_N.mean()),
    }


def _thinned(**columns: Float64) -> dict[str, list[float]]:
    points = len(next(iter(columns.values())))
    keep = np.unique(np.linspace(0, points - 1, min(MOST_POINTS, points)).astype(int))
    return {name: np.round(values[keep], 5).tolist() for name, values in columns.items()}
