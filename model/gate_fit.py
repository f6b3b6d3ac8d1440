"""The parts of a gate and their limits, from films whose kind is known.

Shapes: N films, F numbers of a summary, D directions, P parts.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from model.gate import CHILD, LATERAL, LEARNED, NOT_CHEST, OUT_OF_DISTRIBUTION, PARTS, Gate, GateWeights
from model.gate_films import ADULT, GateFilms
from model.metrics import Bool, Float64

STRENGTH = 0.003
"""Inverse of the penalty on weights (C of scikit-learn), for standardised numbers."""
DIRECTIONS = 48
"""Principal components in which adult films vary; the rest is taken as equal in all directions."""
BUDGET = {LATERAL: 0.004, CHILD: 0.014, NOT_CHEST: 0.004, OUT_OF_DISTRIBUTION: 0.008}
"""Share of the adult films of a family that a part may refuse: 3 % in all. Most of it is the child's, for
children hide among the adults of the public collections."""
INNER_FOLDS = 3


def fit_weights(films: GateFilms, chosen_N: Bool) -> GateWeights:
    """Return what the parts learn from the chosen films.

    Families of adults weigh alike, and so do the kinds of pictures within a part, and the parts.

    Raises
    ------
    ValueError
        If a kind is missing among the chosen films.
    """
    weight_N = _weights(films, chosen_N)
    adult_N = chosen_N & (films.kind_N == ADULT)
    share_N = weight_N[adult_N] / weight_N[adult_N].sum()
    summary_NF = films.summary_NF[adult_N].astype(np.float64)
    centre_F = share_N @ summary_NF
    # A number that never changes (a dead channel) must not weigh without bound when it does.
    scale_F = np.sqrt(share_N @ np.square(summary_NF - centre_F)) + 1e-3
    z_NF = (films.summary_NF[chosen_N] - centre_F) / scale_F
    learned = LogisticRegression(C=STRENGTH, max_iter=1000)
    learned.fit(z_NF, films.kind_N[chosen_N], sample_weight=weight_N[chosen_N])
    rows = [list(learned.classes_).index(kind) for kind in (ADULT, *LEARNED)]
    # Against adults: the likeliest kind of all says nothing on how likely an adult is.
    coefficients, intercepts = learned.coef_[rows], learned.intercept_[rows]
    axes_DF, variance_D, rest = _components((summary_NF - centre_F) / scale_F, share_N)
    return GateWeights(
        *(
            np.asarray(array, np.float32)
            for array in (
                centre_F, scale_F, coefficients[1:] - coefficients[0], intercepts[1:] - intercepts[0],
                axes_DF, variance_D, [rest],
            )
        )
    )  # fmt: skip


def _components(z_NF: Float64, share_N: Float64) -> tuple[Float64, Float64, float]:
    variance_F, axes_FF = np.linalg.eigh((z_NF * share_N[:, None]).T @ z_NF)
    directions = min(DIRECTIONS, len(variance_F) - 1)
    rest = max(float(variance_F[:-directions].mean()), 1e-6)
    return axes_FF[:, -directions:].T, np.maximum(variance_F[-directions:], rest), rest


def _weights(films: GateFilms, chosen_N: Bool) -> Float64:
    weight_N: Float64 = np.zeros(len(chosen_N))
    kinds = (ADULT, *LEARNED)
    for kind in kinds:
        of_kind_N = chosen_N & (films.kind_N == kind)
        if not of_kind_N.any():
            raise ValueError(
                f"expected films of the kinds {list(kinds)}, came none of {kind!r}: in the manifest laterals "
                "have the view L and children the age group child; pictures of no chest have folders"
            )
        origins = np.unique(films.family_N[of_kind_N])
        for origin in origins:
            there_N = of_kind_N & (films.family_N == origin)
            weight_N[there_N] = 1 / (there_N.sum() * len(origins) * len(kinds))
    weight_N *= chosen_N.sum()
    return weight_N


def choose_limits(films: GateFilms, chosen_N: Bool, seed: int) -> Float64:
    """Return the limit of each part, from the chosen adults' scores by parts that did not see them.

    They are scored twice: by parts fitted to the other folds, and by parts fitted to the other families. A
    part's limit is the lowest at which, of every family and of either scoring, no more than its budget is
    refused: a hospital that is new to the gate is a family that it has not seen.
    """
    adult_N = chosen_N & (films.kind_N == ADULT)
    fold_N = deal_folds(films, INNER_FOLDS, seed)
    scored = [np.full((len(chosen_N), len(PARTS)), -np.inf) for _ in range(2)]
    for fold in range(INNER_FOLDS):
        held_N = fold_N == fold
        asked_N = adult_N & held_N
        scored[0][asked_N] = scores_of_others(films, chosen_N & ~held_N, asked_N)
    families = np.unique(films.family_N[adult_N]).tolist()
    for family in families if len(families) > 1 else ():
        asked_N = adult_N & (films.family_N == family)
        held_N = family_units(films, family)
        scored[1][asked_N] = scores_of_others(films, chosen_N & ~held_N, asked_N)
    limits_P = np.full(len(PARTS), -np.inf)
    for scores_NP in scored:
        for family in families:
            mine_N = adult_N & (films.family_N == family)
            worst_first_NP = -np.sort(-scores_NP[mine_N], axis=0)
            allowed = [int(BUDGET[part] * mine_N.sum()) for part in PARTS]
            limits_P = np.maximum(limits_P, worst_first_NP[allowed, range(len(PARTS))])
    return limits_P


def fit_gate(films: GateFilms, chosen_N: Bool, stages: tuple[str, ...], seed: int) -> Gate:
    """Return the parts fitted to the chosen films, with limits from them."""
    return Gate(fit_weights(films, chosen_N), choose_limits(films, chosen_N, seed), stages)


def scores_of_others(films: GateFilms, fitted_N: Bool, asked_N: Bool) -> Float64:
    """Return ``scores_NP`` of the films that are asked, by parts fitted to others."""
    return fit_weights(films, fitted_N).scores(films.summary_NF[asked_N])


def family_units(films: GateFilms, family: str) -> Bool:
    """Return the adults of a family, and every film that shares a patient or group with one of them.

    What must be refused stays, whoever's patients it shows: there is one hospital's of most kinds.
    """
    own_N = (films.family_N == family) & (films.kind_N == ADULT)
    held_N: Bool = np.isin(films.unit_N, films.unit_N[own_N]) & (films.kind_N == ADULT)
    return held_N


def deal_folds(films: GateFilms, k: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each film; the units of each family and kind are dealt in turn, and never parted."""
    generator = np.random.default_rng(seed)
    fold_of = np.full(int(films.unit_N.max()) + 1, -1)
    for kind in np.unique(films.kind_N):
        for family in np.unique(films.family_N[films.kind_N == kind]):
            mine_N = (films.kind_N == kind) & (films.family_N == family)
            units = np.unique(films.unit_N[mine_N])
            fresh = units[fold_of[units] < 0]
            fold_of[generator.permutation(fresh)] = (np.arange(len(fresh)) + generator.integers(k)) % k
    return fold_of[films.unit_N]
