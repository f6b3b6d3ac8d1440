"""Scores of calibration films become a probability, a threshold, a band and the scale of the map."""

import argparse
import dataclasses
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import conformal, own_network, processor
from model.answers import covid_log_odds
from model.checkpoint import RELEASE, Calibration, Model, load_model, save_model
from model.command_edge import one_line_errors
from model.config import Config, DecisionConfig
from model.folds import SPLIT, group_units, read_split, write_split
from model.gate import GATE, GATE_WEIGHTS
from model.known_films import TRAINED, paths_in, split_in
from model.manifest import EXPECTED, Film, leave_out, manifest_sha256, read_manifest
from model.network import FilmNetwork
from model.probability import Float64, calibrated, log_odds, mapped_log_odds
from model.scoring import score_films

log = logging.getLogger(__name__)

MIN_SLOPE = 1e-3
"""A slope of 0 or below would turn the heads' order round; such a model has learned nothing."""
KEPT = (GATE, GATE_WEIGHTS)
"""What a model that is calibrated anew keeps of the folder that it came from."""
FOLDS = 5
"""Folds in which Platt's map and the beta map are compared."""


@dataclass(frozen=True)
class CalibrationFilms:
    """What is known of N calibration films: scores of a network that trained on none of their families."""

    odds_N: Float64
    """Log-odds of the joined heads."""
    is_covid_N: NDArray[np.bool_]
    """The truth."""
    cam_top_N: Float64
    """Largest value of each film's raw map."""
    unit_N: NDArray[np.int64]
    """Number of the patient or group."""

    @property
    def counts(self) -> str:
        """Return the number of films of each kind, in words."""
        covid = int(self.is_covid_N.sum())
        return f"{covid} COVID-19, {len(self.is_covid_N) - covid} others"


def platt(odds_N: Float64, is_covid_N: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept of the logistic regression of the answer on the log-odds (Platt 1999)."""
    (slope,), intercept = _logistic(odds_N[:, None], is_covid_N)
    return slope, intercept


def beta(odds_N: Float64, is_covid_N: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return both slopes and the intercept of a beta calibration (Kull, Silva Filho and Flach 2017).

    It is the logistic regression of the answer on ``log p`` and ``-log(1 - p)``; see
    `model.probability.calibrated`.
    """
    features_N2 = np.stack([-np.logaddexp(0.0, -odds_N), np.logaddexp(0.0, odds_N)], axis=1)
    (slope, slope_rest), intercept = _logistic(features_N2, is_covid_N)
    return slope, slope_rest, intercept


def _logistic(features_NF: Float64, answer_N: NDArray[np.bool_]) -> tuple[list[float], float]:
    from sklearn.linear_model import LogisticRegression

    # Hardly any penalty: it only keeps classes that a score separates whole from an infinite slope.
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(features_NF, answer_N)
    return [float(value) for value in fitted.coef_[0]], float(fitted.intercept_[0])


def beta_is_better(films: CalibrationFilms) -> bool:
    """Return whether the beta map has a smaller log-loss than Platt's on films that fitted neither.

    Five folds that part no patient; beta must win by more than chance: by more than 1.96 standard errors
    of the difference, counted over patients. Otherwise the map with one number less is kept.
    """
    from scipy.stats import sem

    _, unit_N = np.unique(films.unit_N, return_inverse=True)
    smallest = min(len(set(unit_N[films.is_covid_N])), len(set(unit_N[~films.is_covid_N])))
    if smallest < 10 * FOLDS:
        return False
    gain_N = np.zeros(len(unit_N))
    fold_N = np.random.default_rng(0).permutation(int(unit_N.max()) + 1)[unit_N] % FOLDS
    for fold in range(FOLDS):
        fit, held = fold_N != fold, fold_N == fold
        slope, intercept = platt(films.odds_N[fit], films.is_covid_N[fit])
        bent = beta(films.odds_N[fit], films.is_covid_N[fit])
        if min(slope, *bent[:2]) < MIN_SLOPE:
            return False
        sign = np.where(films.is_covid_N[held], -1.0, 1.0)
        straight_N = np.logaddexp(0, sign * mapped_log_odds(films.odds_N[held], slope, None, intercept))
        gain_N[held] = np.logaddexp(0, sign * mapped_log_odds(films.odds_N[held], *bent)) - straight_N
    per_unit = np.bincount(unit_N, gain_N)
    return bool(per_unit.mean() + 1.96 * sem(per_unit) < 0)


def youden_threshold(probability_N: Float64, is_covid_N: NDArray[np.bool_]) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1, halfway between two films.

    Films at or above the threshold count as positive.
    """
    order = np.argsort(probability_N, kind="stable")
    scores, truth = probability_N[order], is_covid_N[order]
    # Cutting before film i leaves films i and above as positives; equal scores cannot be cut apart.
    missed = np.concatenate([[0], np.cumsum(truth)]) / truth.sum()
    rejected = np.concatenate([[0], np.cumsum(~truth)]) / (~truth).sum()
    allowed = np.concatenate([[False], scores[1:] > scores[:-1], [False]])
    cut = int(np.argmax(np.where(allowed, rejected - missed, -1.0)))
    return float(scores[cut] + scores[cut - 1]) / 2 if allowed.any() else float(scores[0])


def fit_map(films: CalibrationFilms) -> tuple[float, float | None, float, str]:
    """Return slope, second slope (None for Platt's map), intercept, and the name of the map."""
    if beta_is_better(films):
        slope, slope_rest, intercept = beta(films.odds_N, films.is_covid_N)
        if min(slope, slope_rest) >= MIN_SLOPE:
            return slope, slope_rest, intercept, "beta calibration"
    slope, intercept = platt(films.odds_N, films.is_covid_N)
    if slope < MIN_SLOPE:
        log.warning("the heads do not tell COVID-19 on the calibration films (slope %.3g)", slope)
        slope = MIN_SLOPE
    return slope, None, intercept, "Platt scaling"


def fit_calibration(films: CalibrationFilms, config: DecisionConfig, where: str) -> Calibration:
    """Return the calibration of a model from the scores of its calibration films.

    Parameters
    ----------
    films
        The films; where the model is to be used elsewhere than it was trained, of families held out.
    config
        Assumed prevalence, alphas and limit of the band, percentile of the map's scale.
    where
        Which films they are, in words; kept with the model.

    Raises
    ------
    ValueError
        If one of the two answers is missing.
    """
    truth_N = films.is_covid_N
    if truth_N.all() or not truth_N.any():
        raise ValueError(f"calibration needs films of both kinds, came {len(truth_N)} of one")
    slope, slope_rest, intercept, name = fit_map(films)
    seen = float(truth_N.mean())
    assumed = seen if config.prevalence is None else config.prevalence
    # A change of prevalence multiplies the odds of every film by the same factor (Bayes).
    intercept += float(log_odds(assumed) - log_odds(seen))
    scale = float(np.percentile(films.cam_top_N[truth_N], config.cam_percentile))
    mapped = Calibration(
        slope=slope, slope_rest=slope_rest, intercept=intercept, threshold=0.5, band_low=0.5, band_high=0.5,
        prevalence_training=seen, prevalence_assumed=assumed, cam_scale=max(scale, 1e-6),
        films=len(truth_N), method=f"{name}, Youden threshold and conformal band on {where} ({films.counts})",
    )  # fmt: skip
    return with_decision(mapped, calibrated(films.odds_N, mapped), truth_N, config)


def with_decision(
    mapped: Calibration, probability_N: Float64, is_covid_N: NDArray[np.bool_], config: DecisionConfig
) -> Calibration:
    """Return the calibration with a threshold and a band from calibrated probabilities."""
    covid_N, rest_N = probability_N[is_covid_N], probability_N[~is_covid_N]
    wished = (config.alpha_covid, config.alpha_rest)
    band = conformal.affordable_band(covid_N, rest_N, wished, config.most_abstained)
    aim = f"at most {band.alpha_covid:.1%} of COVID-19 and {band.alpha_rest:.1%} of others misjudged"
    if (band.alpha_covid, band.alpha_rest) != wished:
        log.warning(
            "the wished alphas leave more than %.0f %% of a class open: raised to %.3f and %.3f",
            100 * config.most_abstained, band.alpha_covid, band.alpha_rest,
        )  # fmt: skip
        aim += f", raised so that at most {config.most_abstained:.0%} of either are left open"
    # Where nothing may be left open, a film outside the band must not change sides.
    threshold = min(max(youden_threshold(probability_N, is_covid_N), band.low), band.high)
    return dataclasses.replace(
        mapped, threshold=threshold, band_low=band.low, band_high=band.high,
        alpha_covid=band.alpha_covid, alpha_rest=band.alpha_rest, method=f"{mapped.method}; aimed at: {aim}",
    )  # fmt: skip


def calibrate(network: FilmNetwork, config: Config, folder: Path, films: Sequence[Film]) -> Calibration:
    """Score the calibration films and return the calibration.

    Of films that only share a patient or group with a calibration source, none is used.
    """
    sources = set(config.data.calibration_sources)
    used = [film for film in films if not sources or film.source in sources]
    where = f"the calibration part of {', '.join(sorted(sources))}" if sources else "the validation films"
    return fit_calibration(_scored(network, config, folder, used), config.decision, where)


def _scored(network: FilmNetwork, config: Config, folder: Path, films: Sequence[Film]) -> CalibrationFilms:
    scores = score_films(network, config.transforms, folder, films)
    is_covid_N = np.array([film.label == config.data.covid_label for film in films], bool)
    odds_N = covid_log_odds(scores.logits_NK, config)
    return CalibrationFilms(odds_N, is_covid_N, scores.cam_top_N, group_units(films))


def films_to_calibrate(model: Model, folder: Path, manifest: Path, split: Path | None = None) -> list[Film]:
    """Return the films of a manifest that may calibrate a model anew.

    Parameters
    ----------
    model
        The model.
    folder
        Its folder; films that the split file in it names as trained or validated are left out.
    manifest
        Films that the network did not train on.
    split
        Split file, of which the films of the subset ``calibration`` are taken; None takes every film.

    Raises
    ------
    ValueError
        If the network was trained on the manifest and no split is given, the split has no such subset, or no
        film is left.
    """
    trained_on_it = model.provenance.get("data_sha256") == manifest_sha256(manifest)
    if trained_on_it and split is None:
        raise ValueError(f"{manifest.name} trained this model: name other films, or a split that spares some")
    films, reasons = leave_out(read_manifest(manifest, model.config.data.labels), model.config.data)
    if split is not None:
        films = _of_calibration(films, split)
    trained = paths_in(split_in(folder), TRAINED)
    spared = [film for film in films if film.path not in trained]
    known = len(films) - len(spared)
    if known:
        log.warning(
            "%d films of %s are left out: by their paths they trained or validated the model. If they are "
            "others of the same names, rename them", known, manifest.name,
        )  # fmt: skip
    if not spared:
        raise ValueError(
            f"no film is left to calibrate on in {manifest.name}: {known} trained or validated the model by "
            f"their paths, the configuration leaves out {dict(reasons) or 'none'}. Give films that the model "
            "does not know"
        )
    log.info("%d films of %s calibrate, left out: %s", len(spared), manifest.name, dict(reasons) or "none")
    return spared


def _of_calibration(films: Sequence[Film], split: Path) -> list[Film]:
    subset_of = read_split(split)
    subsets = sorted(set(subset_of.values()))
    if "calibration" not in subsets:
        raise ValueError(
            f"{split.name}: expected films of the subset calibration, came {subsets}. "
            "A run without held-out calibration sources has none: give another split, or films of their own"
        )
    chosen = [film for film in films if subset_of.get(film.path) == "calibration"]
    if not chosen:
        raise ValueError(f"{split.name}: none of its calibration films is in the manifest")
    return chosen


def recalibrate(model: Model, manifest: Path, films: Sequence[Film]) -> Model:
    """Return a model with the calibration of other films; its network stays as it is.

    Parameters
    ----------
    model
        The model.
    manifest
        The manifest of the films.
    films
        What `films_to_calibrate` chose of it.

    Raises
    ------
    ValueError
        If a class is missing.
    """
    scored = _scored(model.network, model.config, manifest.parent, films)
    fitted = fit_calibration(scored, model.config.decision, f"films of {manifest.name}")
    told = {
        "data_sha256": manifest_sha256(manifest),
        "films": len(films),
        "instead_of": model.calibration.method,
    }
    provenance = model.provenance | {"calibrated_anew": told}
    return dataclasses.replace(model, calibration=fitted, provenance=provenance)


def write_calibrated(out: Path, made: Model, folder: Path, films: Sequence[Film]) -> None:
    """Write the new model, with what it keeps of the old one's folder.

    Its split is the old one with the films that calibrated now as ``calibration``, so that an evaluation
    leaves them out. Those that calibrated before stay in it: the wish to calibrate anew may come of them.
    """
    save_model(out, made)
    for name in KEPT:
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / name)
    old = split_in(folder)
    used = {film.path: "calibration" for film in films}
    write_split(out / SPLIT, (read_split(old) if old is not None else {}) | used)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m model.calibrate",
        description="Calibrate a trained model anew, on films of the place that is to use it: probability, "
        "threshold, band and scale of the map. The network stays as it is.",
    )
    add = parser.add_argument
    add("--model", type=Path, default=RELEASE, metavar="DIR", help="model folder; the shipped one by default")
    add("--network-file", **own_network.OPTION)
    add("--data", type=Path, required=True, metavar="MANIFEST", help=EXPECTED)
    add(
        "--split",
        type=Path,
        metavar="FILE",
        help="split file, whose films of the subset calibration are taken",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the new model")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    processor.prepare()
    with one_line_errors(parser):
        own_network.enter(options.network_file)
        if options.out.exists():
            raise ValueError(f"{options.out} is there already: name a new folder")
        model = load_model(options.model)
        films = films_to_calibrate(model, options.model, options.data, options.split)
        made = recalibrate(model, options.data, films)
        write_calibrated(options.out, made, options.model, films)
    fitted = made.calibration
    print(fitted.method)
    band = f"{fitted.band_low:.3f} to {fitted.band_high:.3f}"
    print(f"threshold {fitted.threshold:.3f}, indeterminate from {band}")
    print(f"model: {options.out}. These films are used up: evaluate on others.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
