"""The summary of several folds is one page, a table and curves, and never mixes the scores of two models."""

import base64
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import page_in
from PIL import Image
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from model.checkpoint import Model
from model.config import three_class
from model.evaluate import Request, evaluate, main
from model.evaluation_sets import AGAINST_DISEASE, AGAINST_NORMAL, REST
from model.fold_files import measure_folds, print_folds, write_fold_summary
from model.fold_html import warnings
from model.fold_reading import names_of
from model.folds import fold_split, folds, write_split
from model.manifest import read_manifest
from model.metrics import Units
from model.network import build_network
from model.plots import plot_roc
from model.predictions import Predictions, read_predictions, write_predictions

LABELS = ("covid", "pneumonia", "normal")
CLASSES = {"names": list(LABELS), "class_of_label": {name: k for k, name in enumerate(LABELS)}}


def write_fold(folder: Path, number: int, films: int = 60, **more: Any) -> Path:
    """Write the evaluation of a fold's model; each says everything 0.15 higher than the one before."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(number)
    truth = generator.permutation(np.arange(films) % 3)
    p = (0.2 * (truth == 0) + 0.4 * generator.random(films) + 0.15 * number).round(2)
    low, high = more.get("band", (0.3 + 0.15 * number, 0.4 + 0.15 * number))
    decision = np.where(p >= high, "positive", np.where(p < low, "negative", "indeterminate")).tolist()
    # Two films of each patient, and no patient of one fold in another.
    units = Units(1000 * more.get("patients", number) + np.arange(films) // 2, np.ones(films, bool))
    said = Predictions(
        [f"{more.get('paths', number)}-{film}.png" for film in range(films)],
        [LABELS[k] for k in truth], [more.get("covid_from", "") if k == 0 else "" for k in truth],
        [""] * films, units, p, 0.35 + 0.15 * number, decision,
    )  # fmt: skip
    logits = np.eye(3)[np.where(generator.random(films) < 0.8, truth, 2)]
    write_predictions(folder / "predictions.csv", said, dict(zip(LABELS, logits.T, strict=True)))
    details = {
        "threshold_chosen_on": f"validation films of fold {number}", "band_low": low, "band_high": high,
        "alpha_covid": 0.1, "alpha_rest": 0.12, "prevalence_assumed": 0.5, "classes": CLASSES,
        "model": {"name": "cxr-test", "version": "1"}, "weights_sha256": f"w{number}", "config_sha256": "c",
        "manifest": "films.csv", "data_sha256": "d", "subset": "test", **more.get("details", {}),
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps({"details": details}))
    return folder


def relabel(folder: Path, label: str) -> None:
    """Call the films of that label normal, in a fold that was written."""
    path = folder / "predictions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(row.replace(f",{label},", ",normal,") for row in rows)]) + "\n")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three folds, in folders named as docs/evaluation.md names them."""
    top = tmp_path_factory.mktemp("folds")
    return [write_fold(top / f"run-{number}" / "report", number) for number in range(3)]


@pytest.fixture(scope="module")
def summary(three: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of their summary, and what its ``metrics.json`` holds."""
    out = tmp_path_factory.mktemp("summary")
    assert main(["--folds", *map(str, three), "--out", str(out)]) == 0
    return out, json.loads((out / "metrics.json").read_text())


def parts(three: list[Path]) -> dict[str, Predictions]:
    return {folder.parent.name: read_predictions(folder / "predictions.csv") for folder in three}


def test_the_summary_is_one_page_that_loads_nothing(summary: tuple[Path, dict[str, Any]]) -> None:
    out, _ = summary
    page, text = page_in(out)

    assert all(address.startswith(("data:image/svg", "#")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert "@import" not in text
    assert "url(" not in text
    pictures = [address for address in page.addresses if address.startswith("data:")]
    # Matrices, two curves for each of three questions, reliability, matrices of classes.
    assert len(pictures) == 3 * 3 + 1 + 1
    for picture in pictures:
        assert b"<svg" in base64.b64decode(picture.split(",")[1])
    for name in ("roc", "precision_recall_covid_vs_normal", "reliability", "confusion_matrix", "classes"):
        with Image.open(out / f"{name}.png") as drawn:
            assert drawn.width > 400


def test_the_page_gives_each_fold_its_figures_films_patients_and_threshold(
    summary: tuple[Path, dict[str, Any]],
) -> None:
    out, report = summary
    page, _ = page_in(out)
    words = " ".join(page.text.split())
    found = report["details"][REST]

    assert list(found["folds"]) == ["run-0", "run-1", "run-2"]
    for figures in (found["mean"], *found["folds"].values()):
        for name in ("roc_auc", "accuracy", "mcc", "ece", "abstain_rate"):
            figure = figures[name]
            assert f"{figure['value']:.3f}{figure['low']:.3f} to {figure['high']:.3f}" in words, name
    assert "180 films, 60 with COVID-19, of 90 patients or groups: run-0, run-1, run-2" in words
    for number in range(3):
        assert f"run-{number}60 films20 COVID-1930 patients or groups" in words
        row = f"run-{number}602030 {0.35 + 0.15 * number:.4f} {0.3 + 0.15 * number:.4f} and"
        assert row in words
        assert f"validation films of fold {number}" in words
    assert "never pooled" in report["roc_auc"]["method"]
    assert report["roc_auc"]["method"] in words
    assert "patients are drawn over all folds at once" in words
    assert words.count("not for diagnosis") >= 2
    assert 'class="warning"' not in page_in(out)[1]


def test_every_curve_is_that_of_one_fold(three: list[Path], summary: tuple[Path, dict[str, Any]]) -> None:
    """Pooled, the others of the last fold would pass the COVID-19 films of the first."""
    out, report = summary
    curves = json.loads((out / "curves.json").read_text())

    assert set(curves) == {REST, AGAINST_NORMAL, AGAINST_DISEASE}
    for question, rest in ((REST, LABELS), (AGAINST_NORMAL, ("covid", "normal"))):
        assert set(curves[question]) == {"run-0", "run-1", "run-2"}
        for name, said in parts(three).items():
            asked = np.isin(said.label, rest)
            truth, p = said.is_covid("covid")[asked], said.probability_N[asked]
            fpr, tpr, _ = roc_curve(truth, p)
            drawn = curves[question][name]
            np.testing.assert_allclose(drawn["roc"]["false_positive_rate"], fpr, atol=1e-5)
            np.testing.assert_allclose(drawn["roc"]["true_positive_rate"], tpr, atol=1e-5)
            assert sum(b["films"] for b in drawn["reliability"]) == asked.sum()
            area = report["details"][question]["folds"][name]["roc_auc"]["value"]
            assert area == pytest.approx(roc_auc_score(truth, p), abs=1e-5)
    everything = parts(three).values()
    pooled = roc_auc_score(
        np.concatenate([said.is_covid("covid") for said in everything]),
        np.concatenate([said.probability_N for said in everything]),
    )
    assert report["roc_auc"]["value"] - pooled > 0.05


def test_matrices_are_counted_at_each_folds_own_threshold_and_only_added(
    three: list[Path], summary: tuple[Path, dict[str, Any]]
) -> None:
    _, report = summary
    found = report["details"][REST]
    total = np.zeros((2, 2), int)
    for number, (name, said) in enumerate(parts(three).items()):
        by_hand = confusion_matrix(said.is_covid("covid"), said.probability_N >= 0.35 + 0.15 * number)
        assert found["counts"][name]["confusion_matrix"] == by_hand.tolist()
        total += by_hand

    assert found["confusion_matrix_sum"] == total.tolist()
    accuracy = [figures["accuracy"]["value"] for figures in found["folds"].values()]
    assert report["accuracy"]["value"] == pytest.approx(np.mean(accuracy), abs=1e-5)


def test_classes_are_summed_up_by_fold_and_mean(
    three: list[Path], summary: tuple[Path, dict[str, Any]]
) -> None:
    out, report = summary
    classes = report["details"]["classes"]
    hits = []
    for folder, (name, said) in zip(three, parts(three).items(), strict=True):
        with (folder / "predictions.csv").open(newline="") as file:
            logits = [[float(row[label]) for label in LABELS] for row in csv.DictReader(file)]
        called = [LABELS[k] for k in np.argmax(logits, axis=1)]
        by_hand = confusion_matrix(said.label, called, labels=LABELS)
        assert classes["confusion_matrices"][name] == by_hand.tolist()
        hits.append(np.trace(by_hand) / 60)

    assert report["class_accuracy"]["value"] == pytest.approx(np.mean(hits), abs=1e-5)
    assert report["class_accuracy"]["n"] == 180
    assert np.sum(classes["confusion_matrix_sum"]) == 180
    page, _ = page_in(out)
    assert "Sensitivity: pneumonia" in page.text
    assert "Macro F1" in page.text


def test_abstention_is_told_where_there_is_a_band(
    tmp_path: Path, summary: tuple[Path, dict[str, Any]]
) -> None:
    out, report = summary
    page, _ = page_in(out)
    counts = report["details"][REST]["counts"].values()
    assert report["abstain_rate"]["value"] == pytest.approx(
        np.mean([counted["left_open"] / counted["films"] for counted in counts]), abs=1e-5
    )
    assert "called negativeAimed at:at most" in page.text

    firm = [write_fold(tmp_path / f"fold-{n}", n, band=(0.5, 0.5), details={"classes": None}) for n in (0, 1)]
    found = write_fold_summary(firm, tmp_path / "out")
    page, _ = page_in(tmp_path / "out")
    assert "No model has a band" in page.text
    assert "Aimed at" not in page.text
    assert found["details"]["classes"] is None
    assert "class_accuracy" not in found
    assert not (tmp_path / "out" / "classes.png").exists()


def test_the_table_holds_every_figure_of_each_fold_and_the_mean(
    summary: tuple[Path, dict[str, Any]],
) -> None:
    out, report = summary
    with (out / "metrics.csv").open(newline="") as file:
        found = {(row["set"], row["fold"], row["figure"]): row for row in csv.DictReader(file)}

    details = report["details"]
    for name in (REST, AGAINST_NORMAL, AGAINST_DISEASE, "classes"):
        for fold, figures in {"mean": details[name]["mean"], **details[name]["folds"]}.items():
            for key, figure in figures.items():
                row = found.pop((name, fold, key))
                assert float(row["value"]) == figure["value"]
                assert float(row["low"]) == figure["low"]
                assert (int(row["n"]), row["method"]) == (figure["n"], figure["method"])
    assert not found


def test_what_is_not_defined_is_empty_in_the_table_and_said_on_the_page(tmp_path: Path) -> None:
    with_both, alone = write_fold(tmp_path / "both", 0), write_fold(tmp_path / "alone", 1)
    relabel(alone, "covid")

    report = write_fold_summary([with_both, alone], tmp_path / "out")

    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        rows = {(row["set"], row["fold"], row["figure"]): row for row in csv.DictReader(file)}
    assert rows[REST, "alone", "roc_auc"]["value"] == ""
    assert "no film with COVID-19" in rows[REST, "alone", "roc_auc"]["method"]
    page, _ = page_in(tmp_path / "out")
    assert "not defined: no film with COVID-19" in page.text
    assert "fewer than 10 films in alone" in page.text
    assert report["roc_auc"]["value"] == report["details"][REST]["folds"]["both"]["roc_auc"]["value"]
    assert set(json.loads((tmp_path / "out" / "curves.json").read_text())[REST]) == {"both"}


def test_a_question_of_the_same_films_is_shown_once(tmp_path: Path) -> None:
    folders = [write_fold(tmp_path / f"fold-{n}", n) for n in (0, 1)]
    for folder in folders:
        relabel(folder, "pneumonia")

    report = write_fold_summary(folders, tmp_path / "out")

    assert report["roc_auc_covid_vs_normal"]["value"] == report["roc_auc"]["value"]
    page, _ = page_in(tmp_path / "out")
    assert f"{AGAINST_NORMAL}: the same films as {REST}" in page.text
    assert not (tmp_path / "out" / "roc_covid_vs_normal.png").exists()


def test_folders_are_told_apart_by_what_differs_in_their_paths(tmp_path: Path) -> None:
    def names(*paths: str) -> list[str]:
        return names_of([tmp_path / path for path in paths])

    assert names("fold-0", "fold-1") == ["fold-0", "fold-1"]
    assert names("run-0/report", "run-1/report") == ["run-0", "run-1"]
    assert names("run-0/a/report", "run-1/a/report") == ["run-0", "run-1"]
    assert names("run-0/report", "run-1/report", "run-1/again") == [
        "run-0/report",
        "run-1/report",
        "run-1/again",
    ]
    assert names("one") == ["one"]
    with pytest.raises(ValueError, match="a folder for each fold"):
        names("fold-0", "fold-0")


def test_models_of_other_classes_are_not_summed_up(tmp_path: Path) -> None:
    other = {"names": ["normal", "covid"], "class_of_label": {"normal": 0, "covid": 1}}
    folders = [write_fold(tmp_path / "a", 0), write_fold(tmp_path / "b", 1, details={"classes": other})]

    with pytest.raises(ValueError, match="call the same classes"):
        measure_folds(folders)


def test_folds_count_as_covid_what_their_models_do(tmp_path: Path) -> None:
    covid = [write_fold(tmp_path / "covid" / name, n) for n, name in enumerate("ab")]
    called = [
        write_fold(tmp_path / "pneumonia" / name, n, details={"covid_label": "pneumonia"})
        for n, name in enumerate("ab")
    ]
    for folder in called:
        swap = {"covid": "pneumonia", "pneumonia": "covid"}
        head, *rows = (folder / "predictions.csv").read_text().splitlines()
        cells = [row.split(",") for row in rows]
        lines = [",".join([path, swap.get(label, label), *rest]) for path, label, *rest in cells]
        (folder / "predictions.csv").write_text("\n".join([head, *lines]) + "\n")

    assert measure_folds(called)[0]["roc_auc"] == measure_folds(covid)[0]["roc_auc"]
    with pytest.raises(ValueError, match=r"one label counts as COVID-19, came \['covid', 'pneumonia'\]"):
        measure_folds([covid[0], called[1]])


def test_an_option_of_scoring_beside_folds_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(write_fold(tmp_path / name, n)) for n, name in enumerate("ab")]

    with pytest.raises(SystemExit) as ended:
        main(["--folds", *folders, "--out", str(tmp_path / "out"), "--prevalence", "0.1", "--no-gallery"])

    assert ended.value.code == 2
    assert "--prevalence, --no-gallery: give it where each fold is evaluated" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_name_is_text_and_no_markup(tmp_path: Path) -> None:
    folders = [write_fold(tmp_path / name, n) for n, name in enumerate(("<b>one", "two"))]

    write_fold_summary(folders, tmp_path / "out")

    text = (tmp_path / "out" / "report.html").read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;one" in text


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"paths": 0, "patients": 0}, "60 films were scored in more than one fold"),
        ({"patients": 0}, "30 patients or groups have films in more than one fold"),
        ({"details": {"data_sha256": "other"}}, "different manifests"),
        ({"details": {"weights_sha256": "w0"}}, "The same weights judged first, second"),
        ({"covid_from": "cohen"}, "come from different places in second"),
        ({"films": 21}, "fewer than 10 films in second"),
    ],
)
def test_what_makes_folds_doubtful_is_a_warning(second: dict[str, Any], words: str, tmp_path: Path) -> None:
    folders = [write_fold(tmp_path / "first", 0), write_fold(tmp_path / "second", 1, **second)]

    report, _ = measure_folds(folders)

    (found,) = warnings(report["details"])
    assert words in found


def test_a_seventh_curve_is_told_from_the_first() -> None:
    curve = {"roc": {"false_positive_rate": [0, 1], "true_positive_rate": [0, 1]}}
    names = [str(number) for number in range(12)]

    (panel,) = plot_roc(dict.fromkeys(names, curve), dict.fromkeys(names, "")).axes

    # The first line is chance.
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in panel.lines[1:]}
    assert len(looks) == 12


def test_evaluations_of_two_models_of_classes_become_a_summary(
    known_model: Model, families: Path, tmp_path: Path
) -> None:
    """Each of two networks of random weights on its own half of the films, patients apart."""
    films = read_manifest(families, LABELS)
    fold_of = folds(films, 2, 0)
    small = known_model.config
    config = replace(three_class(), network=small.network, transforms=small.transforms)
    for number in range(2):
        write_split(tmp_path / "split.csv", fold_split(films, fold_of, number, small.data, 0))
        torch.manual_seed(number)
        network = build_network(config).eval()
        torch.nn.init.normal_(network.heads.weight)
        model = Model(config, known_model.calibration, network, str(number))
        evaluate(model, Request(families, tmp_path / "split.csv", gallery=False), tmp_path / f"fold-{number}")

    folders = [str(tmp_path / f"fold-{number}") for number in range(2)]
    assert main(["--folds", *folders, "--out", str(tmp_path / "out")]) == 0

    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["accuracy"]["n"] == report["class_accuracy"]["n"] == 84
    alone = [json.loads((tmp_path / f"fold-{n}" / "metrics.json").read_text()) for n in range(2)]
    for name in ("roc_auc", "abstain_rate", "class_accuracy"):
        expected = np.mean([found[name]["value"] for found in alone])
        assert report[name]["value"] == pytest.approx(expected, abs=1e-4)
    page, _ = page_in(tmp_path / "out")
    assert "made up for a test" in page.text


def test_a_folder_that_is_no_evaluation_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fold(tmp_path / "fold-1", 1)
    (tmp_path / "fold-1" / "metrics.json").write_text("[]")

    with pytest.raises(SystemExit):
        main(["--folds", str(tmp_path / "fold-1"), "--out", str(tmp_path / "all")])

    assert "metrics.json of model.evaluate" in capsys.readouterr().err


def test_each_fold_and_the_mean_are_printed(
    summary: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    print_folds(summary[1])

    said = capsys.readouterr().out
    assert f"{REST}, run-2: AUC" in said
    assert f"{AGAINST_NORMAL}, mean: AUC" in said
    assert "classes, mean: accuracy" in said
