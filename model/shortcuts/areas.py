"""Areas under the ROC curve that an audit asks for, each for many weightings of the films at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.metrics import Bool, Figures, Float64, Units, weighted_auc

AUC = "roc_auc"


@dataclass(frozen=True)
class Area:
    """What the areas below share: one figure that rests on every film."""

    units: Units
    """The patients."""

    def base(self, name: str) -> Bool:
        """Return all films."""
        return np.ones(len(self.units.number_N), bool)

    def undefined(self, name: str) -> str:
        """Return why the figure is not defined, in words."""
        return "a class has no film where both are asked for"


@dataclass(frozen=True)
class Within(Area):
    """The mean over places of the area within each that has films of both classes."""

    score_N: Float64
    """The higher, the more yes."""
    yes_N: Bool
    """The truth."""
    place_N: NDArray[np.generic]
    """Where each film belongs."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the mean area."""
        found = []
        for place in np.unique(self.place_N):
            there_N = self.place_N == place
            yes_N = self.yes_N[there_N]
            if yes_N.any() and not yes_N.all():
                found.append(weighted_auc(self.score_N[there_N], yes_N, weight_BN[:, there_N]))
        return {AUC: np.mean(found, axis=0) if found else np.full(len(weight_BN), np.nan)}


@dataclass(frozen=True)
class Against(Area):
    """The area over those pairs in which the place speaks for the wrong film.

    A pair is a film that is yes and one that is no; only pairs count in which yes is rarer at the place of
    the first than at that of the second. A model that follows the place orders them the wrong way round.
    """

    score_N: Float64
    """The higher, the more yes."""
    yes_N: Bool
    """The truth."""
    place_N: NDArray[np.generic]
    """Where each film belongs."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the area over those pairs."""
        share = {place: float(self.yes_N[self.place_N == place].mean()) for place in np.unique(self.place_N)}
        right_B, pairs_B = np.zeros(len(weight_BN)), np.zeros(len(weight_BN))
        for rare, rare_share in share.items():
            for common, common_share in share.items():
                if rare_share >= common_share:
                    continue
                chosen_N = (self.yes_N & (self.place_N == rare)) | (~self.yes_N & (self.place_N == common))
                yes_N, weight = self.yes_N[chosen_N], weight_BN[:, chosen_N]
                if not yes_N.any() or yes_N.all():
                    continue
                mass_B = weight[:, yes_N].sum(axis=1) * weight[:, ~yes_N].sum(axis=1)
                area_B = weighted_auc(self.score_N[chosen_N], yes_N, weight)
                right_B += np.where(mass_B > 0, mass_B * np.nan_to_num(area_B), 0.0)
                pairs_B += mass_B
        return {AUC: np.divide(right_B, pairs_B, out=np.full(len(pairs_B), np.nan), where=pairs_B > 0)}


@dataclass(frozen=True)
class Loss(Area):
    """How much area is lost when films are changed: on the whole films minus on the changed ones."""

    before_N: Float64
    """Scores of the whole films."""
    after_N: Float64
    """Scores of the changed ones."""
    yes_N: Bool
    """The truth."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the difference of the two areas."""
        before_B, after_B = (
            weighted_auc(score_N, self.yes_N, weight_BN) for score_N in (self.before_N, self.after_N)
        )
        return {AUC: before_B - after_B}


@dataclass(frozen=True)
class Effect(Area):
    """How a change moves the score: changed films of one half of the patients against the others unchanged.

    Either half is changed in turn and the two areas are averaged, so that it does not matter how the halves
    differ, and no film is compared with itself.
    """

    before_N: Float64
    """Scores of the whole films."""
    after_N: Float64
    """Scores of the changed ones."""
    half_N: Bool
    """Which patients' films are changed first."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the mean of the two areas: 0.5 where the change moves nothing."""
        first_B = weighted_auc(np.where(self.half_N, self.after_N, self.before_N), self.half_N, weight_BN)
        other_N = ~self.half_N
        second_B = weighted_auc(np.where(other_N, self.after_N, self.before_N), other_N, weight_BN)
        return {AUC: (first_B + second_B) / 2}


@dataclass(frozen=True)
class Macro(Area):
    """The mean over S classes of the area of each against the others."""

    score_NS: Float64
    """A column per class; for two classes one column is enough."""
    class_N: NDArray[np.int64]
    """Number of each film's class; with one column 1 is yes."""

    def figures(self, weight_BN: Float64) -> Figures:
        """Return the mean area over the classes that occur."""
        columns = self.score_NS.shape[1]
        found = [
            weighted_auc(self.score_NS[:, s], self.class_N == (1 if columns == 1 else s), weight_BN)
            for s in range(columns)
            if columns == 1 or (self.class_N == s).any()
        ]
        return {AUC: np.mean(found, axis=0)}
