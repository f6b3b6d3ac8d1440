"""An evaluation reports each question apart, with intervals, by the model's own threshold."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from model import data
from model.checkpoint import load_model, save_model
from model.data import Film
from model.evaluate import Request, comparisons, evaluate, main, sets_to_show
from model.predict import Predictor
from model.transforms import load_picture

ManifestOf = Callable[[Sequence[dict[str, str]]], Path]


def test_the_two_questions_are_reported_apart_and_by_source() -> None:
    films = [
        Film("a", "covid", source="x"),
        Film("b", "normal", source="x"),
        Film("c", "pneumonia", source="x"),
        Film("d", "covid", source="y"),
        Film("e", "negative", source="z"),
    ]

    found = {name: chosen.tolist() for name, chosen in comparisons(films, "covid").items()}

    assert found["COVID-19 against the rest"] == [True] * 5
    assert found["x: COVID-19 against normal"] == [True, True, False, False, False]
    assert found["x: COVID-19 against other disease"] == [True, False, True, False, False]
    assert found["y: COVID-19 against the rest"] == [False, False, False, True, False]
    assert "y: COVID-19 against normal" not in found


def test_pictures_show_honest_comparisons_first_and_no_handful_of_films() -> None:
    def part(films: int, covid: int, apart: bool) -> dict[str, object]:
        return {"films": films, "covid": covid, "classes_from_different_sources": apart}

    sets = {
        "pooled": part(1000, 500, True), "small": part(100, 91, False), "fair": part(60, 20, False),
        "fair and large": part(200, 100, False),
    }  # fmt: skip

    assert sets_to_show({"sets": sets}) == ["fair and large", "fair", "pooled"]
    assert sets_to_show({"sets": {"small": part(9, 4, False)}}) == ["small"]


def test_the_report_agrees_with_the_predictor_film_by_film(
    families: Path, model_folder: Path, tmp_path: Path
) -> None:
    model = load_model(model_folder)
    predictor = Predictor(model_folder)

    report = evaluate(model, Request(families), tmp_path / "out")

    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[::10]:
        said = predictor(load_picture(families.parent / row["path"]))
        assert float(row["probability"]) == pytest.approx(said.probability, abs=1e-5)
        assert row["decision"] == said.decision
    truth = [row["label"] == "covid" for row in rows]
    area = roc_auc_score(truth, [float(row["probability"]) for row in rows])
    everything = report["sets"]["COVID-19 against the rest"]
    assert everything["metrics"]["roc_auc"]["value"] == pytest.approx(area, abs=1e-3)
    assert everything["films"] == len(rows) == 84
    assert np.sum(everything["confusion_matrix"]) == 84


def test_the_report_is_written_as_json_and_pictures(
    families: Path, model_folder: Path, tmp_path: Path
) -> None:
    report = evaluate(load_model(model_folder), Request(families), tmp_path)

    assert json.loads((tmp_path / "metrics.json").read_text()) == report
    for name in ("roc", "confusion_matrix"):
        assert json.loads((tmp_path / f"{name}.json").read_text())
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 300
    metric = report["sets"]["elsewhere: COVID-19 against normal"]["metrics"]["specificity"]
    assert set(metric) == {"value", "low", "high", "n", "set", "method"}
    assert report["heads"]["opacity"]["films"] == 28
    assert "research" in report["note"].lower()


def test_a_comparison_across_sources_is_marked(families: Path, model_folder: Path, tmp_path: Path) -> None:
    sets = evaluate(load_model(model_folder), Request(families), tmp_path)["sets"]

    assert sets["COVID-19 against the rest"]["classes_from_different_sources"]
    assert not sets["elsewhere: COVID-19 against normal"]["classes_from_different_sources"]


def test_the_threshold_is_the_models_whatever_is_scored(
    families: Path, model_folder: Path, tmp_path: Path
) -> None:
    model = load_model(model_folder)
    never = replace(model, calibration=replace(model.calibration, threshold=1.0))

    found = evaluate(never, Request(families), tmp_path)["sets"]["COVID-19 against the rest"]["metrics"]

    assert found["recall"]["value"] == 0
    assert found["specificity"]["value"] == 1


def test_only_the_subset_that_was_asked_for_is_scored(
    families: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = data.read_manifest(families, ("covid", "pneumonia", "normal"))
    subset_of = {film.path: "test" if number % 2 else "train" for number, film in enumerate(films)}
    data.write_split(tmp_path / "split.csv", subset_of)
    command = ["--model", str(model_folder), "--data", str(families), "--split", str(tmp_path / "split.csv")]

    assert main([*command, "--out", str(tmp_path / "out")]) == 0

    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["sets"]["COVID-19 against the rest"]["films"] == 42
    assert report["left_out"]["not in the subset"] == 42
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
    assert report["subset"] == "test"
    assert report["sets"]["COVID-19 against the rest"]["films"] == 10


def test_a_bare_manifest_of_paths_and_labels_is_enough(
    manifest_of: ManifestOf, model_folder: Path, tmp_path: Path
) -> None:
    path = manifest_of([{"path": f"{n}.png", "label": "covid" if n % 2 else "normal"} for n in range(12)])

    sets = evaluate(load_model(model_folder), Request(path), tmp_path / "out")["sets"]

    assert set(sets) == {"COVID-19 against normal"}
    assert "of images" in sets["COVID-19 against normal"]["metrics"]["roc_auc"]["method"]


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


def test_a_film_that_cannot_be_read_is_named(
    manifest_of: ManifestOf, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifest_of([{"path": f"{n}.png", "label": "covid" if n else "normal"} for n in range(3)])
    (path.parent / "1.png").write_bytes(b"broken")

    with pytest.raises(SystemExit):
        main(["--model", str(model_folder), "--data", str(path), "--out", str(tmp_path / "out")])

    assert "1.png" in capsys.readouterr().err
