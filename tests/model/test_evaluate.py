"""An evaluation reports each question apart, with intervals, by the model's own threshold."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, roc_auc_score

from model import data
from model.checkpoint import Model, load_model, save_model
from model.config import HeadConfig
from model.data import Film
from model.evaluate import Request, choose, evaluate, main, measure
from model.evaluation_sets import evaluation_sets, from_different_sources, units_of
from model.metrics import Scored, Units
from model.network import build_network
from model.predict import Predictor
from model.predictions import read_predictions
from model.probability import log_odds, sigmoid
from model.report_html import write_report_html
from model.set_report import at_own_prevalence, sets_to_show
from model.transforms import load_picture

ManifestOf = Callable[[Sequence[dict[str, str]]], Path]
Evaluation = tuple[Path, dict[str, Any]]
FIGURE = {"value", "low", "high", "n", "set", "method"}


@pytest.fixture(scope="module")
def evaluated(known_model: Model, families: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The folder and the report of one evaluation of the families."""
    out = tmp_path_factory.mktemp("evaluation")
    return out, evaluate(known_model, Request(families, gallery=False), out)


def names(films: Sequence[Film], model: Model) -> dict[str, list[bool]]:
    return {found.name: found.chosen_N.tolist() for found in evaluation_sets(films, model)}


def test_the_two_questions_are_reported_apart_and_by_source_and_view(known_model: Model) -> None:
    films = [
        Film("a", "covid", source="x", view="AP"),
        Film("b", "normal", source="x"),
        Film("c", "pneumonia", source="x"),
        Film("d", "covid", source="y"),
        Film("e", "negative", source="z", view="AP"),
    ]

    found = names(films, known_model)

    assert found["COVID-19 against the rest"] == [True] * 5
    assert found["COVID-19 against normal"] == [True, True, False, True, False]
    assert found["x: COVID-19 against the rest"] == [True, True, True, False, False]
    assert found["x: COVID-19 against normal"] == [True, True, False, False, False]
    assert found["x: COVID-19 against other disease"] == [True, False, True, False, False]
    assert found["y: COVID-19 against the rest"] == [False, False, False, True, False]
    assert "y: COVID-19 against normal" not in found
    assert found["view AP"] == [True, False, False, False, True]
    assert found["view not named"] == [False, True, True, True, False]


def test_within_a_source_of_one_kind_of_others_its_question_stands_alone(known_model: Model) -> None:
    films = [Film("a", "covid", source="x"), Film("b", "normal", source="x"), Film("c", "covid", source="y")]

    found = names(films, known_model)

    assert found["x: COVID-19 against normal"] == [True, True, False]
    assert "x: COVID-19 against the rest" not in found


def test_films_are_parted_by_what_the_model_had_of_their_source(known_model: Model) -> None:
    films = [Film("a", "covid", source=source) for source in ("nih", "cohen", "elsewhere", "new", "")]

    found = names(films, known_model)

    assert found["sources that trained the model, other films"] == [True, False, False, False, False]
    assert found["sources that calibrated the model, other films"] == [False, False, True, False, False]
    assert found["families that neither trained nor calibrated the model"] == [False, True, False, True, True]


def test_films_of_no_source_are_not_unseen_by_a_model_that_was_made_of_such(known_model: Model) -> None:
    counted = {"train": {"all:covid": 9, "all:normal": 9}}
    model = replace(known_model, provenance={"films": counted})
    films = [Film("a", "covid"), Film("b", "normal"), Film("c", "covid", source="new")]

    found = names(films, model)

    assert found["sources that trained the model, other films"] == [True, True, False]
    assert found["families that neither trained nor calibrated the model"] == [False, False, True]


def test_a_source_of_a_family_that_trained_is_not_unseen(known_model: Model) -> None:
    films = [
        Film("a.png", "covid", source="darkcovidnet"), Film("b.png", "normal", source="rsna"),
        Film("c.png", "covid", source="hannover"), Film("d.png", "covid", source="nowhere"),
    ]  # fmt: skip
    found = names(films, known_model)

    # The model trained on NIH's films, which both of them hold under names of their own.
    assert found["sources of the families that trained or calibrated the model, themselves unseen"] == [
        True, True, False, False,
    ]  # fmt: skip
    assert found["families that neither trained nor calibrated the model"] == [False, False, True, True]


def test_a_second_part_of_a_training_source_is_of_its_family(known_model: Model) -> None:
    trained = replace(known_model, provenance={"films": {"train": {"hannover:covid": 9}}})
    films = [Film(f"{name}.png", "covid", source=name) for name in ("hannover_2", "radiography", "rsna")]

    found = names(films, trained)

    # radiography's authors took films of Hannover too.
    assert found["sources of the families that trained or calibrated the model, themselves unseen"] == [
        True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "apart"),
    [
        ((("cohen", "cohen"),), False),
        ((("radiography", "radiography"),), True),
        ((("cohen", "hannover"),), True),
        ((("cohen", "cohen"), ("hannover", "hannover")), False),
        ((("cohen", ""),), False),
    ],
)
def test_classes_of_a_composite_source_come_from_different_places(
    sources: Sequence[tuple[str, str]], apart: bool
) -> None:
    films = [
        Film(f"{n}-{label}.png", label, source=source)
        for n, pair in enumerate(sources)
        for label, source in zip(("covid", "normal"), pair, strict=True)
        if source
    ]
    assert from_different_sources(films, "covid") is apart


def test_a_source_that_calibrates_counts_as_that_alone(known_model: Model) -> None:
    both = replace(known_model, provenance={"films": {"train": {"nih:normal": 9, "elsewhere:normal": 1}}})
    films = [Film("a", "covid", source="elsewhere"), Film("b", "normal", source="nih")]

    found = names(films, both)

    assert found["sources that calibrated the model, other films"] == [True, False]
    assert found["sources that trained the model, other films"] == [False, True]


def test_patients_have_the_same_numbers_in_each_evaluation_of_a_manifest(
    manifest_of: ManifestOf, known_model: Model, tmp_path: Path
) -> None:
    patients = ("first", "first", "second", "third", "third", "second")
    path = manifest_of(
        [{"path": f"{n}.png", "label": "covid", "patient_id": name} for n, name in enumerate(patients)]
    )
    data.write_split(tmp_path / "split.csv", {f"{n}.png": "test" for n in (2, 4, 5)})

    _, everybody, _ = choose(known_model, Request(path))
    _, some, _ = choose(known_model, Request(path, tmp_path / "split.csv"))

    assert everybody.number_N.tolist() == [0, 0, 1, 2, 2, 1]
    assert some.number_N.tolist() == [1, 2, 1]


def test_an_error_of_prevalence_alone_is_gone_at_the_sets_own_share(known_model: Model) -> None:
    """Right where 45 % have COVID-19, as the model assumes; here only one in ten has it."""
    generator = np.random.default_rng(0)
    p = sigmoid(log_odds(0.45) + generator.normal(0, 1.5, 40_000))
    covid = generator.random(40_000) < p
    met = ~covid | (generator.random(40_000) < (0.1 / 0.9) * ((1 - covid.mean()) / covid.mean()))
    part = Scored(p[met], covid[met], Units.alone(int(met.sum())), 0.5)

    stated = part.figures(np.ones((1, len(part.is_covid_N))))["ece"][0]
    own = at_own_prevalence(part, "x", known_model)

    assert stated > 0.15
    assert own.value is not None
    assert own.value < 0.02
    assert "own share of COVID-19, 0.1" in own.method


def test_a_patient_id_made_up_from_the_file_names_nobody() -> None:
    films = [
        Film("x/COVID-1.jpg", "covid", patient_id="radiography-COVID-1"),
        Film("x/a.jpg", "covid", patient_id="cohen-2"),
        Film("x/b.jpg", "covid", group="g1"),
        Film("x/c.jpg", "normal", group="g1"),
        Film("P001/1.png", "normal", patient_id="P001"),
        Film("x/17.png", "normal", patient_id="17"),
    ]

    units = units_of(films)

    assert units.named_N.tolist() == [False, True, False, False, True, False]
    assert units.number_N.tolist() == [0, 1, 2, 2, 3, 4]


def test_pictures_show_questions_first_then_honest_comparisons_and_no_handful_of_films() -> None:
    def part(kind: str, films: int, covid: int, mixed: bool = False) -> dict[str, object]:
        few = min(covid, films - covid) < 10
        counts = {"kind": kind, "films": films, "covid": covid, "too_few": few}
        return counts | {"classes_from_different_sources": mixed}

    sets = {
        "COVID-19 against the rest": part("question", 1000, 500, True),
        "small": part("source", 100, 91),
        "mixed": part("source", 900, 400, True),
        "fair": part("source", 60, 20),
        "large": part("source", 200, 100),
        "view AP": part("view", 200, 100),
    }

    assert sets_to_show(sets) == ["COVID-19 against the rest", "large", "fair", "mixed"]
    few = {"COVID-19 against the rest": part("question", 9, 4)}
    assert sets_to_show(few) == ["COVID-19 against the rest"]


def test_the_report_agrees_with_the_predictor_film_by_film(
    families: Path, known_folder: Path, evaluated: Evaluation
) -> None:
    out, report = evaluated
    predictor = Predictor(known_folder)

    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[::10]:
        said = predictor(load_picture(families.parent / row["path"]))
        assert float(row["probability"]) == pytest.approx(said.probability, abs=1e-5)
        assert row["decision"] == said.decision
    truth = [row["label"] == "covid" for row in rows]
    area = roc_auc_score(truth, [float(row["probability"]) for row in rows])
    assert report["roc_auc"]["value"] == pytest.approx(area, abs=1e-5)
    assert report["roc_auc"]["n"] == len(rows) == 84
    everything = report["details"]["sets"]["COVID-19 against the rest"]
    assert np.sum(everything["confusion_matrix"]) == 84


def test_every_figure_stands_by_its_name_with_all_that_it_needs(evaluated: Evaluation) -> None:
    out, report = evaluated
    named = (
        "accuracy", "balanced_accuracy", "precision", "sensitivity", "specificity", "f1", "npv", "mcc",
        "roc_auc", "pr_auc", "brier", "ece",
    )  # fmt: skip

    flat = {name: figure for name, figure in report.items() if name != "details"}

    assert json.loads((out / "metrics.json").read_text()) == report
    assert all(set(figure) == FIGURE for figure in flat.values())
    for suffix in ("", "_covid_vs_normal", "_covid_vs_other_disease"):
        assert {f"{name}{suffix}" for name in named} <= set(flat)
    assert {"abstain_rate", "error_among_judged", "ece_in_source", "ece_out_of_family"} <= set(flat)
    assert flat["roc_auc_covid_vs_normal"]["set"] == "COVID-19 against normal"
    assert flat["ece_out_of_family"]["n"] == 28
    assert flat["ece_in_source"]["set"] == "sources that calibrated the model, other films"
    assert "research" in report["details"]["note"].lower()
    assert report["details"]["heads"]["opacity"]["films"] == 28


def test_pictures_curves_and_predictions_lie_beside_the_report(evaluated: Evaluation) -> None:
    out = evaluated[0]
    for name in ("roc", "precision_recall", "reliability", "decision_curve", "confusion_matrix"):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.width > 400
    curve = json.loads((out / "curves.json").read_text())["COVID-19 against the rest"]
    assert curve["roc"]["false_positive_rate"][0] == curve["roc"]["true_positive_rate"][0] == 0
    assert curve["roc"]["false_positive_rate"][-1] == curve["precision_recall"]["recall"][-1] == 1
    assert len(curve["reliability"]) == 15
    assert curve["share_of_covid"] == pytest.approx(28 / 84)


def test_a_comparison_across_sources_is_marked(evaluated: Evaluation) -> None:
    sets = evaluated[1]["details"]["sets"]

    assert sets["COVID-19 against the rest"]["classes_from_different_sources"]
    assert not sets["elsewhere: COVID-19 against normal"]["classes_from_different_sources"]


def test_the_threshold_is_the_models_whatever_is_scored(families: Path, known_model: Model) -> None:
    never = replace(known_model, calibration=replace(known_model.calibration, threshold=1.0))

    found = measure(never, Request(families)).report

    assert found["sensitivity"]["value"] == 0
    assert found["specificity"]["value"] == 1
    assert "exact binomial" in found["specificity"]["method"]


def test_only_the_subset_that_was_asked_for_is_scored(
    families: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = data.read_manifest(families, ("covid", "pneumonia", "normal"))
    subset_of = {film.path: "test" if number % 2 else "train" for number, film in enumerate(films)}
    data.write_split(tmp_path / "split.csv", subset_of)
    command = ["--model", str(model_folder), "--data", str(families), "--split", str(tmp_path / "split.csv")]

    assert main([*command, "--out", str(tmp_path / "out")]) == 0

    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["roc_auc"]["n"] == 42
    assert report["details"]["left_out"]["not in the subset"] == 42
    assert "research" in capsys.readouterr().out


def test_on_its_own_manifest_a_model_is_scored_on_its_own_test_films(
    families: Path, model_folder: Path, tmp_path: Path
) -> None:
    model = load_model(model_folder)
    save_model(model_folder, replace(model, provenance={"data_sha256": data.manifest_sha256(families)}))
    films = data.read_manifest(families, ("covid", "pneumonia", "normal"))
    data.write_split(model_folder / "split.csv.gz", {film.path: "train" for film in films[10:]} | {
        film.path: "test" for film in films[:10]
    })  # fmt: skip

    main(["--model", str(model_folder), "--data", str(families), "--out", str(tmp_path / "out")])

    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["details"]["subset"] == "test"
    assert report["accuracy"]["n"] == 10


@pytest.fixture
def grown(families: Path, model_folder: Path, tmp_path: Path) -> list[str]:
    """The command for a model made with the families' films but ten, and a manifest of one film more."""
    films = data.read_manifest(families, ("covid", "pneumonia", "normal"))
    subsets = ("train", "validation", "calibration")
    subset_of = {film.path: subsets[number % 3] for number, film in enumerate(films[10:])}
    data.write_split(model_folder / "split.csv.gz", subset_of | {film.path: "test" for film in films[:10]})
    model = load_model(model_folder)
    save_model(model_folder, replace(model, provenance={"data_sha256": data.manifest_sha256(families)}))
    for film in families.parent.glob("*.png"):
        (tmp_path / film.name).symlink_to(film)
    (tmp_path / "new.png").symlink_to(families.parent / films[0].path)
    grown = tmp_path / "grown.csv"
    grown.write_text(families.read_text() + "new.png,covid,new,elsewhere,,,,\n")
    return [
        "--model",
        str(model_folder),
        "--data",
        str(grown),
        "--no-gallery",
        "--out",
        str(tmp_path / "out"),
    ]


def read_report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def test_films_that_made_the_model_are_left_out_of_a_manifest_that_has_grown(
    grown: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(grown) == 0

    report = read_report(tmp_path / "out")
    assert report["accuracy"]["n"] == 11
    assert report["details"]["left_out"] == {"film that trained, validated or calibrated the model": 74}
    assert report["details"]["training_films_scored"] == 0
    assert "74 films of grown.csv are left out" in caplog.text
    assert "calibrated the model: 74" in (tmp_path / "out" / "report.html").read_text()


def test_whoever_asks_for_the_films_that_made_the_model_gets_them_and_is_told(
    grown: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main([*grown, "--score-training-films"]) == 0

    report = read_report(tmp_path / "out")
    assert report["accuracy"]["n"] == 85
    assert report["details"]["left_out"] == {}
    assert report["details"]["training_films_scored"] == 74
    assert "74 of the films made the model" in caplog.text
    assert "74 films that trained" in (tmp_path / "out" / "report.html").read_text()


def test_a_subset_of_no_split_is_refused(
    grown: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*grown, "--subset", "validation"])

    assert "--subset validation needs --split FILE: the model was not trained on grown.csv" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("subset", "scored"), [("test", 10), ("train", 25)])
def test_a_split_that_is_given_is_scored_but_for_test_films_that_made_the_model(
    subset: str, scored: int, grown: list[str], tmp_path: Path
) -> None:
    subset_of = data.read_split(tmp_path / "model" / "split.csv.gz")
    wrong = {path: "test" if name == "validation" else name for path, name in subset_of.items()}
    data.write_split(tmp_path / "split.csv", wrong)

    assert main([*grown, "--split", str(tmp_path / "split.csv"), "--subset", subset]) == 0

    assert read_report(tmp_path / "out")["accuracy"]["n"] == scored


def test_a_manifest_of_nothing_but_films_that_made_the_model_says_so(
    grown: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (tmp_path / "grown.csv").read_text().splitlines()
    (tmp_path / "grown.csv").write_text("\n".join([lines[0], *lines[11:-1]]) + "\n")

    with pytest.raises(SystemExit):
        main(grown)

    said = capsys.readouterr().err
    assert "no film to score in grown.csv, left out: {'film that trained" in said
    assert "calibrated the model': 74}. Give films that the model does not know" in said


def test_a_bare_manifest_of_paths_and_labels_is_enough(manifest_of: ManifestOf, known_model: Model) -> None:
    path = manifest_of([{"path": f"{n}.png", "label": "covid" if n % 2 else "normal"} for n in range(12)])
    rows = [line.split(",")[:2] for line in path.read_text().splitlines()]
    path.write_text("".join(",".join(row) + "\n" for row in rows))

    report = measure(known_model, Request(path)).report

    assert set(report["details"]["sets"]) == {
        "COVID-19 against the rest", "COVID-19 against normal",
        "families that neither trained nor calibrated the model",
    }  # fmt: skip
    assert report["roc_auc"]["value"] == report["roc_auc_covid_vs_normal"]["value"]
    assert "12 images: per image, too narrow" in report["roc_auc"]["method"]


def test_an_empty_class_is_said_and_never_becomes_nan(
    manifest_of: ManifestOf, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest_of([{"path": f"{n}.png", "label": "normal"} for n in range(12)])

    main(["--model", str(model_folder), "--data", str(path), "--out", str(tmp_path / "out")])

    text = (tmp_path / "out" / "metrics.json").read_text()
    found = json.loads(text)
    assert "NaN" not in text
    assert found["roc_auc"] | {"set": ""} == {
        "value": None, "low": None, "high": None, "n": 12, "set": "",
        "method": "not defined: no film with COVID-19",
    }  # fmt: skip
    assert found["specificity"]["value"] is not None
    assert "not defined: no film with COVID-19" in (tmp_path / "out" / "report.html").read_text()
    assert "not defined: no film with COVID-19" in capsys.readouterr().out


def test_another_prevalence_moves_the_probabilities_and_no_decision(
    families: Path, known_folder: Path, evaluated: Evaluation, tmp_path: Path
) -> None:
    command = ["--model", str(known_folder), "--data", str(families), "--no-gallery"]
    main([*command, "--out", str(tmp_path), "--prevalence", "0.05"])

    own, rare = (read_predictions(folder / "predictions.csv") for folder in (evaluated[0], tmp_path))
    moved = log_odds(own.probability_N) - log_odds(rare.probability_N)
    np.testing.assert_allclose(moved, log_odds(0.45) - log_odds(0.05), atol=1e-9)
    assert own.decision == rare.decision
    np.testing.assert_array_equal(own.scored("covid").called, rare.scored("covid").called)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["details"]["prevalence_assumed"] == 0.05


def test_a_model_of_classes_is_measured_by_the_class_it_calls(
    families: Path, known_model: Model, tmp_path: Path
) -> None:
    heads = tuple(
        HeadConfig(name, (name,), tuple(other for other in ("covid", "normal", "pneumonia") if other != name))
        for name in ("covid", "normal", "pneumonia")
    )
    config = replace(known_model.config, heads=heads, link="softmax")
    torch.manual_seed(0)
    network = build_network(config).eval()
    # Fresh heads give every class the same logit.
    torch.nn.init.normal_(network.heads.weight)
    found = measure(Model(config, known_model.calibration, network, "x"), Request(families))

    called = found.evaluated.logits_NK.argmax(axis=1)
    truth = [("covid", "normal", "pneumonia").index(film.label) for film in found.evaluated.films]
    accuracy = found.report["class_accuracy"]
    assert accuracy["value"] == pytest.approx(np.mean(called == truth), abs=1e-5)
    assert accuracy["n"] == 84
    matrix = found.report["details"]["classes"]["confusion_matrix"]
    assert matrix == confusion_matrix(truth, called, labels=[0, 1, 2]).tolist()
    write_report_html(tmp_path / "report.html", found.report, {"confusion_matrix": "data:,"}, None)
    assert "the likeliest being called" in (tmp_path / "report.html").read_text()


def test_two_models_are_compared_on_the_same_films(
    families: Path, known_model: Model, evaluated: Evaluation, tmp_path: Path
) -> None:
    flat = replace(known_model, calibration=replace(known_model.calibration, slope=0.1))
    other = evaluated[0] / "predictions.csv"

    report = measure(flat, Request(families, against=other)).report

    found = report["details"]["comparison"]
    assert found["films"] == 84
    # A flatter slope leaves the order and changes the probabilities.
    assert found["figures"]["roc_auc"]["difference"]["value"] == 0
    assert found["figures"]["brier"]["difference"]["value"] != 0
    write_report_html(tmp_path / "report.html", report, {"confusion_matrix": "data:,"}, None)
    text = (tmp_path / "report.html").read_text()
    assert "Comparison with predictions.csv" in text
    assert "DeLong" in text


def test_predictions_of_other_films_are_refused_before_any_film_is_read(
    families: Path, known_model: Model, evaluated: Evaluation, tmp_path: Path
) -> None:
    # Beside this manifest lies no film: what is said first is what was looked at first.
    moved = tmp_path / "moved.csv"
    moved.write_text(families.read_text().replace(",covid,", ",normal,"))

    with pytest.raises(ValueError, match="disagree about the label"):
        measure(known_model, Request(moved, against=evaluated[0] / "predictions.csv"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"path": "a.png", "label": "influenza"}], "influenza"),
        ([{"path": "a.png", "label": "unlabelled"}], "no film to score"),
    ],
)
def test_a_manifest_that_cannot_be_scored_says_why(
    rows: list[dict[str, str]],
    message: str,
    manifest_of: ManifestOf,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--model", str(model_folder), "--data", str(manifest_of(rows)), "--out", str(tmp_path / "out")])

    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_wrong_columns_are_named(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("file,label\na.png,covid\n")

    with pytest.raises(SystemExit):
        main(
            ["--model", str(model_folder), "--data", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out")]
        )

    assert "no column ['path']" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"broken", "1.png: expected a PNG or JPEG"),
        ("one pixel", "1.png: expected a film of at least 32 px a side, came 1 x 1"),
        ("no DICOM", "1.dcm: expected a DICOM file"),
        ("missing DICOM", "1.dcm: expected a readable file"),
    ],
)
def test_a_film_that_cannot_be_judged_is_named(
    content: bytes | str,
    message: str,
    manifest_of: ManifestOf,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = manifest_of([{"path": f"{n}.png", "label": "covid" if n else "normal"} for n in range(3)])
    if content in ("no DICOM", "missing DICOM"):
        (path.parent / "1.png").rename(path.parent / ("1.dcm" if content == "no DICOM" else "gone"))
        path.write_text(path.read_text().replace("1.png", "1.dcm"))
    elif isinstance(content, bytes):
        (path.parent / "1.png").write_bytes(content)
    else:
        Image.new("L", (1, 1)).save(path.parent / "1.png")

    with pytest.raises(SystemExit) as ended:
        main(["--model", str(model_folder), "--data", str(path), "--out", str(tmp_path / "out")])

    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
