"""Figures of several models are averaged, never computed from scores thrown together."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model.bootstrap import intervals
from model.evaluate import main
from model.fold_figures import Fold, summarise_folds, summarise_seeds
from model.metrics import Called, Scored, Units
from model.predictions import Predictions, write_predictions


def fold(number: int, films: int = 80, shift: float = 0.0, covid: bool = True) -> Fold:
    generator = np.random.default_rng(number)
    truth = (np.arange(films) % 2 == 0) & covid
    p = (0.3 * truth + 0.5 * generator.random(films) + shift).clip(0, 1)
    units = Units(1000 * number + np.arange(films), np.ones(films, bool))
    return Fold(f"fold {number}", Scored(p, truth, units, 0.4 + shift), f"validation part of fold {number}")


def test_the_mean_is_that_of_the_folds_and_not_of_pooled_scores() -> None:
    """One model says everything 0.2 higher than the other: pooled, its others pass the other's COVID-19."""
    folds = [fold(1), fold(2, shift=0.2)]

    found = summarise_folds(folds, "two models")

    areas = [roc_auc_score(f.films.is_covid_N, f.films.probability_N) for f in folds]  # type: ignore[attr-defined]
    pooled = roc_auc_score(
        np.concatenate([f.films.is_covid_N for f in folds]),  # type: ignore[attr-defined]
        np.concatenate([f.films.probability_N for f in folds]),  # type: ignore[attr-defined]
    )
    mean = found.mean["roc_auc"]
    assert mean.value == pytest.approx(np.mean(areas), abs=1e-5)
    assert abs(pooled - np.mean(areas)) > 0.03
    assert [found.folds[f.name]["roc_auc"].value for f in folds] == pytest.approx(areas, abs=1e-5)
    assert mean.n == 160
    assert "never pooled" in mean.method
    assert "fold 1, fold 2" in mean.method


def test_the_mean_of_several_folds_is_known_better_than_one_of_them() -> None:
    found = summarise_folds([fold(number) for number in range(4)], "four models")

    def width(figure: object) -> float:
        return figure.high - figure.low  # type: ignore[attr-defined, no-any-return]

    widths = [width(figures["roc_auc"]) for figures in found.folds.values()]
    assert width(found.mean["roc_auc"]) == pytest.approx(float(np.mean(widths)) / 2, rel=0.25)
    # The calibration error of resamples exceeds that of the films; for the mean, too, that is taken off.
    ece = found.mean["ece"]
    assert ece.low < ece.value < ece.high  # type: ignore[operator]


def test_a_patient_with_films_in_two_folds_is_drawn_into_both() -> None:
    """The published protocol parts patients: then two folds of one patient tell little more than one."""
    same = [fold(1), Fold("again", fold(1).films, "the same")]

    found = summarise_folds(same, "x")
    alone = intervals(fold(1).films, "x")["roc_auc"]

    assert found.mean["roc_auc"].low == pytest.approx(alone.low, abs=1e-5)
    assert found.mean["roc_auc"].high == pytest.approx(alone.high, abs=1e-5)


def test_a_family_of_one_class_has_no_share_in_the_mean_of_areas() -> None:
    found = summarise_folds([fold(1), fold(2), fold(3, covid=False)], "families", "families")

    assert found.folds["fold 3"]["roc_auc"].value is None
    mean = found.mean["roc_auc"]
    assert mean.value is not None
    assert mean.method.startswith("mean over 2 families (fold 1, fold 2)")
    assert found.mean["specificity"].method.startswith("mean over 3 families")
    nothing = summarise_folds([fold(3, covid=False)], "x").mean["roc_auc"]
    assert nothing.value is None
    assert nothing.method.startswith("not defined in any")
    json.dumps(found.to_json(), allow_nan=False)


def test_each_figure_says_where_epoch_and_threshold_were_chosen() -> None:
    found = summarise_folds([fold(1), fold(2)], "x")

    assert found.folds["fold 2"]["accuracy"].method.endswith("validation part of fold 2")
    assert "chosen apart" in found.mean["accuracy"].method


def test_folds_of_three_classes_are_summarised_alike() -> None:
    folds = []
    for number in range(3):
        generator = np.random.default_rng(number)
        truth = generator.integers(0, 3, 90)
        called = np.where(generator.random(90) < 0.8, truth, 0)
        units = Units(100 * number + np.arange(90), np.ones(90, bool))
        folds.append(Fold(str(number), Called(truth, called, units, ("a", "b", "c")), "elsewhere"))

    found = summarise_folds(folds, "x")

    accuracy = [float((f.films.truth_N == f.films.called_N).mean()) for f in folds]  # type: ignore[attr-defined]
    assert found.mean["accuracy"].value == pytest.approx(np.mean(accuracy), abs=1e-5)
    assert found.mean["macro_f1"].low is not None


def test_folds_need_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="different names"):
        summarise_folds([fold(1), fold(1)], "x")
    with pytest.raises(ValueError, match="different names"):
        summarise_folds([], "x")


def test_seeds_are_listed_with_their_spread() -> None:
    runs = {str(seed): intervals(fold(seed).films, "x") for seed in range(3)}

    found = summarise_seeds(runs)["roc_auc"]

    values = [run["roc_auc"].value for run in runs.values()]
    assert list(found["values"].values()) == values
    assert (found["low"], found["high"]) == (min(values), max(values))  # type: ignore[type-var]
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-5)  # type: ignore[arg-type]


def write_fold(folder: Path, number: int) -> None:
    folder.mkdir()
    films = fold(number).films
    truth, p = films.is_covid_N, films.probability_N  # type: ignore[attr-defined]
    labels = ["covid" if yes else ("normal", "pneumonia")[n // 2 % 2] for n, yes in enumerate(truth)]
    said = Predictions(
        [f"{number}-{n}.png" for n in range(80)], labels, [""] * 80, [""] * 80, films.units, p, 0.4,
        ["positive"] * 80,
    )  # fmt: skip
    write_predictions(folder / "predictions.csv", said, {})
    (folder / "metrics.json").write_text(
        json.dumps({"details": {"threshold_chosen_on": "its validation films"}})
    )


def test_the_command_summarises_the_folders_of_folds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        write_fold(tmp_path / f"fold-{number}", number)

    folders = [str(tmp_path / f"fold-{number}") for number in (1, 2)]
    assert main(["--folds", *folders, "--out", str(tmp_path / "all")]) == 0

    report = json.loads((tmp_path / "all" / "metrics.json").read_text())
    expected = summarise_folds([fold(1), fold(2)], "x").mean["roc_auc"]
    assert report["roc_auc"]["value"] == expected.value
    assert "its validation films" in report["roc_auc"]["method"]
    assert report["roc_auc_covid_vs_normal"]["n"] == 120
    assert "fold-2: AUC" in capsys.readouterr().out


def test_a_folder_that_is_no_evaluation_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fold(tmp_path / "fold-1", 1)
    (tmp_path / "fold-1" / "metrics.json").write_text("[]")

    with pytest.raises(SystemExit):
        main(["--folds", str(tmp_path / "fold-1"), "--out", str(tmp_path / "all")])

    assert "metrics.json of model.evaluate" in capsys.readouterr().err
