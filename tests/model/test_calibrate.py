"""Calibration puts right what was put wrong, and thresholds and bands hold what they promise."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from model import evaluate
from model.calibrate import (
    CalibrationFilms,
    beta,
    beta_is_better,
    films_to_calibrate,
    fit_calibration,
    main,
    platt,
    recalibrate,
    youden_threshold,
)
from model.checkpoint import Calibration, load_model
from model.config import LABELS, DecisionConfig
from model.folds import SPLIT, read_split, write_split
from model.manifest import manifest_sha256, read_manifest
from model.phantom import draw, write_phantoms
from model.predict import Predictor
from model.probability import (
    calibrated,
    decide,
    log_odds,
    mapped_log_odds,
    product_log_odds,
    shifted,
    sigmoid,
)

Drawn = tuple[NDArray[np.float64], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Log-odds that are twice too sure and one too low, and the answers."""
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 2, 8000)
    return 2 * honest - 1, generator.random(8000) < sigmoid(honest)


def films(odds: NDArray[np.float64], truth: NDArray[np.bool_], top: float = 1.0) -> CalibrationFilms:
    return CalibrationFilms(odds, truth, np.full(len(odds), top), np.arange(len(odds)))


def test_platt_finds_the_line_that_was_bent(drawn: Drawn) -> None:
    slope, intercept = platt(*drawn)

    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept == pytest.approx(0.5, abs=0.05)


def test_a_calibrated_probability_is_a_frequency(drawn: Drawn) -> None:
    odds, truth = drawn
    found = fit_calibration(films(odds, truth), DecisionConfig(prevalence=None), "test")
    probability = calibrated(odds, found)

    for low in np.arange(0.1, 0.9, 0.2):
        inside = (probability >= low) & (probability < low + 0.2)
        assert truth[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.03)


def test_the_threshold_is_youdens(drawn: Drawn) -> None:
    odds, truth = drawn
    probability = sigmoid(odds)
    threshold = youden_threshold(probability, truth)
    called = probability >= threshold

    fpr, tpr, _ = roc_curve(truth, probability)
    assert called[truth].mean() - called[~truth].mean() == pytest.approx((tpr - fpr).max())


def test_equal_scores_are_not_cut_apart() -> None:
    threshold = youden_threshold(
        np.array([0.2, 0.5, 0.5, 0.5, 0.9]), np.array([False, False, True, True, True])
    )

    assert threshold == pytest.approx(0.35)


def test_an_assumed_prevalence_shifts_the_odds_and_nothing_else(drawn: Drawn) -> None:
    odds, truth = drawn
    as_seen = fit_calibration(films(odds, truth), DecisionConfig(prevalence=None), "test")
    rare = fit_calibration(films(odds, truth), DecisionConfig(prevalence=0.05), "test")

    shift = log_odds(calibrated(odds, rare)) - log_odds(calibrated(odds, as_seen))

    np.testing.assert_allclose(shift, log_odds(0.05) - log_odds(as_seen.prevalence_training), atol=1e-6)
    same = (calibrated(odds, rare) >= rare.threshold) == (calibrated(odds, as_seen) >= as_seen.threshold)
    assert same.all()
    assert rare.prevalence_assumed == 0.05


def test_at_a_known_prevalence_the_probability_is_the_frequency_there(drawn: Drawn) -> None:
    """Half of the films that calibrate have COVID-19; where it is to be used, one in twenty has it."""
    odds, truth = drawn
    found = fit_calibration(films(odds, truth), DecisionConfig(prevalence=0.05), "test")
    generator = np.random.default_rng(1)
    honest = generator.normal(0, 2, 400_000)
    covid = generator.random(400_000) < sigmoid(honest)
    # The share of COVID-19 falls to one in twenty: most of the COVID-19 films are not met there.
    odds_of_drawing = (0.05 / 0.95) * ((1 - covid.mean()) / covid.mean())
    met = ~covid | (generator.random(400_000) < odds_of_drawing)
    probability = calibrated(2 * honest[met] - 1, found)

    assert covid[met].mean() == pytest.approx(0.05, abs=0.003)
    assert probability.mean() == pytest.approx(0.05, abs=0.004)
    for low, high in ((0.02, 0.1), (0.1, 0.3), (0.3, 0.6)):
        inside = (probability >= low) & (probability < high)
        assert covid[met][inside].mean() == pytest.approx(probability[inside].mean(), abs=0.03)


def test_unless_told_otherwise_half_of_the_films_are_assumed_to_be_covid(drawn: Drawn) -> None:
    odds, truth = drawn
    few = np.flatnonzero(~truth | (np.arange(len(truth)) % 10 == 0))

    found = fit_calibration(films(odds[few], truth[few]), DecisionConfig(), "test")

    assert found.prevalence_training < 0.15
    assert found.prevalence_assumed == 0.5
    # Log-odds of 0 before they were bent: the film says nothing.
    assert calibrated(np.array([-1.0]), found)[0] == pytest.approx(0.5, abs=0.03)


def test_another_prevalence_moves_probabilities_and_no_decision(drawn: Drawn) -> None:
    odds, truth = drawn
    found = fit_calibration(films(odds, truth), DecisionConfig(), "test")
    elsewhere = shifted(found, 0.02)

    before = [decide(float(p), found) for p in calibrated(odds[:3000], found)]
    after = [decide(float(p), elsewhere) for p in calibrated(odds[:3000], elsewhere)]

    assert before == after
    assert {"positive", "negative", "indeterminate"} == set(before)
    assert calibrated(odds, elsewhere).mean() < 0.25
    with pytest.raises(ValueError, match="between 0 and 1"):
        shifted(found, 1.0)


def test_beta_calibration_finds_both_slopes() -> None:
    odds = np.random.default_rng(2).normal(0, 2, 40_000)
    truth = np.random.default_rng(3).random(40_000) < sigmoid(mapped_log_odds(odds, 0.4, 2.0, 0.5))

    assert beta(odds, truth) == pytest.approx((0.4, 2.0, 0.5), abs=0.1)


def test_beta_calibration_is_used_only_where_it_does_better_on_films_it_did_not_see(drawn: Drawn) -> None:
    straight = films(drawn[0][:4000], drawn[1][:4000])
    odds = np.random.default_rng(2).normal(0, 2, 4000)
    truth = np.random.default_rng(3).random(4000) < sigmoid(mapped_log_odds(odds, 0.3, 3.0, 0.0))

    assert not beta_is_better(straight)
    assert fit_calibration(straight, DecisionConfig(), "test").slope_rest is None
    assert beta_is_better(films(odds, truth))
    bent = fit_calibration(films(odds, truth), DecisionConfig(prevalence=None), "test")
    assert bent.slope_rest == pytest.approx(3.0, abs=0.6)
    assert "beta calibration" in bent.method
    assert calibrated(odds, bent).mean() == pytest.approx(truth.mean(), abs=0.01)


def test_a_handful_of_patients_does_not_choose_the_map() -> None:
    odds = np.random.default_rng(2).normal(0, 2, 4000)
    truth = np.random.default_rng(3).random(4000) < sigmoid(mapped_log_odds(odds, 0.3, 3.0, 0.0))

    assert not beta_is_better(replace(films(odds, truth), unit_N=np.arange(4000) % 40))


def test_where_nothing_is_left_open_no_film_outside_the_band_changes_sides(drawn: Drawn) -> None:
    odds, truth = drawn
    for alphas in ((0.02, 0.6), (0.6, 0.02), (0.1, 0.1)):
        config = DecisionConfig(alpha_covid=alphas[0], alpha_rest=alphas[1], most_abstained=0.9)
        found = fit_calibration(films(odds, truth), config, "test")
        assert found.band_low <= found.threshold <= found.band_high
        assert (found.alpha_covid, found.alpha_rest) == alphas


def test_alphas_that_leave_too_many_films_open_are_raised_and_that_is_said(
    drawn: Drawn, caplog: pytest.LogCaptureFixture
) -> None:
    odds, truth = drawn
    config = DecisionConfig(alpha_covid=0.01, alpha_rest=0.01, most_abstained=0.2)
    with caplog.at_level(logging.WARNING):
        found = fit_calibration(films(odds, truth), config, "test")

    assert found.alpha_covid is not None
    assert found.alpha_covid > 0.1
    assert "raised" in caplog.text
    assert "raised so that at most 20% of either" in found.method


def test_the_scale_of_the_map_comes_from_covid_films_alone(drawn: Drawn) -> None:
    odds, truth = drawn
    tops = np.where(truth, 0.3, 50.0)

    found = fit_calibration(replace(films(odds, truth), cam_top_N=tops), DecisionConfig(), "test")

    assert found.cam_scale == pytest.approx(0.3)


def test_calibration_on_one_class_is_refused(drawn: Drawn) -> None:
    with pytest.raises(ValueError, match="both kinds"):
        fit_calibration(films(drawn[0], np.ones(8000, bool)), DecisionConfig(), "test")


def test_heads_that_point_the_wrong_way_are_not_turned_round(
    drawn: Drawn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = fit_calibration(films(-drawn[0], drawn[1]), DecisionConfig(), "test")

    assert 0 < found.slope < 0.01
    assert "do not tell" in caplog.text


@given(st.lists(st.floats(-80, 80), min_size=1, max_size=3))
def test_the_product_of_the_heads_is_a_product(logits: list[float]) -> None:
    odds = product_log_odds(np.array([logits]))

    assert np.isfinite(odds).all()
    assert sigmoid(odds)[0] == pytest.approx(np.prod(sigmoid(np.array(logits))), rel=1e-6, abs=1e-12)


@given(st.floats(-20, 20))
def test_a_model_of_one_head_gives_back_its_logit(logit: float) -> None:
    assert product_log_odds(np.array([[logit]]))[0] == pytest.approx(logit, abs=1e-6)


@pytest.mark.parametrize(
    ("probability", "decision"),
    [
        (0.0, "negative"),
        (0.3999, "negative"),
        (0.4, "indeterminate"),
        (0.5999, "indeterminate"),
        (0.6, "positive"),
        (1.0, "positive"),
    ],
)
def test_inside_the_band_the_model_abstains(
    probability: float, decision: str, calibration: Calibration
) -> None:
    assert decide(probability, calibration) == decision


def test_a_model_is_calibrated_anew_and_its_network_stays(
    served_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_phantoms(tmp_path / "films", 60)
    before = load_model(served_folder)

    arguments = ["--model", str(served_folder), "--data", str(manifest), "--out", str(tmp_path / "new")]
    assert main(arguments) == 0

    after = load_model(tmp_path / "new")
    assert after.weights_sha256 == before.weights_sha256
    assert after.calibration.films == 60
    assert "films of manifest.csv (20 COVID-19, 40 others)" in after.calibration.method
    assert after.calibration.threshold != before.calibration.threshold
    assert after.provenance["calibrated_anew"]["instead_of"] == before.calibration.method
    said = Predictor(tmp_path / "new")(draw("covid", 3))
    assert said.decision == decide(said.probability, after.calibration)
    # Nothing is written over.
    with pytest.raises(SystemExit):
        main(arguments)
    assert "is there already" in capsys.readouterr().err


def test_the_films_that_trained_a_model_do_not_calibrate_it(served_folder: Path, tmp_path: Path) -> None:
    manifest = write_phantoms(tmp_path / "films", 60)
    model = load_model(served_folder)
    trained = replace(model, provenance={"data_sha256": manifest_sha256(manifest)})

    with pytest.raises(ValueError, match="trained this model"):
        films_to_calibrate(trained, served_folder, manifest)

    films = read_manifest(manifest, LABELS)
    spared = {film.path: "calibration" if row < 24 else "train" for row, film in enumerate(films)}
    write_split(tmp_path / "split.csv", spared)
    chosen = films_to_calibrate(trained, served_folder, manifest, tmp_path / "split.csv")
    assert chosen == films[:24]
    assert recalibrate(trained, manifest, chosen).calibration.films == 24


@pytest.fixture
def grown(served_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model with its split of a manifest, and that manifest, of which it no longer knows the hash."""
    manifest = write_phantoms(tmp_path / "films", 60)
    folder = shutil.copytree(served_folder, tmp_path / "model")
    of = ("train", "validation", "test")
    films = read_manifest(manifest, LABELS)
    write_split(folder / SPLIT, {film.path: of[row // 20] for row, film in enumerate(films)})
    return folder, manifest


def test_a_manifest_that_has_grown_calibrates_by_what_the_model_does_not_know(
    grown: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder, manifest = grown

    films = read_manifest(manifest, LABELS)
    with manifest.open("a") as file:
        file.write("lateral.png,covid,p,,L,,,\n")

    with caplog.at_level(logging.INFO):
        chosen = films_to_calibrate(load_model(folder), folder, manifest)

    assert chosen == films[40:]
    assert "20 films of manifest.csv calibrate, left out: {'view L': 1}" in caplog.text
    assert "40 films of manifest.csv are left out" in caplog.text


def test_where_the_model_knows_every_film_that_is_said(grown: tuple[Path, Path], tmp_path: Path) -> None:
    folder, manifest = grown
    films = read_manifest(manifest, LABELS)
    write_split(tmp_path / "split.csv", {film.path: "calibration" for film in films[:40]})

    with pytest.raises(ValueError, match=r"no film is left .* 40 trained or validated .*does not know"):
        films_to_calibrate(load_model(folder), folder, manifest, tmp_path / "split.csv")


def test_a_split_without_calibration_films_is_refused(grown: tuple[Path, Path], tmp_path: Path) -> None:
    folder, manifest = grown
    model = load_model(folder)

    with pytest.raises(ValueError, match=r"subset calibration, came \['test', 'train', 'validation'\]"):
        films_to_calibrate(model, folder, manifest, folder / SPLIT)
    write_split(tmp_path / "split.csv", {"elsewhere.png": "calibration"})
    with pytest.raises(ValueError, match="none of its calibration films is in the manifest"):
        films_to_calibrate(model, folder, manifest, tmp_path / "split.csv")


def test_films_that_calibrated_a_model_anew_are_not_evaluated_as_if_unseen(
    grown: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = grown
    films = read_manifest(write_phantoms(tmp_path / "here", 60, seed=1), LABELS)
    manifest = tmp_path / "here.csv"
    manifest.write_text("path,label\n" + "".join(f"here/{film.path},{film.label}\n" for film in films))
    new = tmp_path / "new"
    assert main(["--model", str(folder), "--data", str(manifest), "--out", str(new)]) == 0

    kept = read_split(new / SPLIT)
    assert {kept[f"here/{film.path}"] for film in films} == {"calibration"}
    assert kept.items() >= read_split(folder / SPLIT).items()
    with pytest.raises(SystemExit):
        evaluate.main(["--model", str(new), "--data", str(manifest), "--out", str(tmp_path / "report")])
    assert "trained, validated or calibrated the model': 60" in capsys.readouterr().err
