"""The model that is shipped is whole, says what it is, and beats chance on a family it never saw."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import data
from model.checkpoint import RELEASE, Model, load_model
from model.metrics import weighted_auc
from model.predict import Predictor
from model.release_figures import REQUIRED
from model.sheets import SHEETS
from model.ship import LARGEST
from model.transforms import load_picture


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(RELEASE)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RELEASE / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def details(report: dict[str, Any]) -> dict[str, Any]:
    """What was scored by what; a release older than `model.ship` has it beside its figures."""
    found: dict[str, Any] = report.get("details", report)
    return found


@pytest.fixture(scope="module")
def named(report: dict[str, Any]) -> dict[str, Any]:
    """A release with figures by name."""
    if "details" not in report:
        pytest.skip("the shipped release is older than model.ship: it has no figures by name")
    return report


def metrics_in(value: object) -> Iterator[dict[str, object]]:
    if isinstance(value, dict):
        if "low" in value:
            yield value
        else:
            for inner in value.values():
                yield from metrics_in(inner)


def test_the_release_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in RELEASE.iterdir()) <= LARGEST == 30_000_000


def test_the_release_carries_a_licence_and_a_card_of_its_own() -> None:
    licence, card = ((RELEASE / name).read_text() for name in ("LICENSE-WEIGHTS.md", "MODEL_CARD.md"))

    assert "research" in licence.lower()
    for source in ("RSNA", "NIH", "covid-chestxray-dataset", "ImageNet"):
        assert source in licence
    assert "not for diagnosis" in card.lower()


def test_the_evaluation_speaks_of_the_weights_that_are_shipped(model: Model, details: dict[str, Any]) -> None:
    assert details["weights_sha256"] == model.weights_sha256
    assert details["config_sha256"] == model.config_sha256
    assert details["data_sha256"] == model.provenance["data_sha256"]
    assert details["threshold"] == model.calibration.threshold
    assert details["subset"] == "test"


def test_every_required_figure_is_there_or_said_to_be_missing(named: dict[str, Any]) -> None:
    card = (RELEASE / "MODEL_CARD.md").read_text()

    for name in REQUIRED:
        if name in named["details"]["missing"]:
            assert f"- `{name}`: not " in card
        else:
            assert named[name]["value"] is not None
            assert f"| `{name}` | {named[name]['value']:.3f} (" in card


def test_figures_of_gate_and_audit_are_those_of_the_shipped_files(
    named: dict[str, Any], model: Model
) -> None:
    gate = json.loads((RELEASE / "gate.json").read_text())

    assert {name: named[name] for name in gate["figures"]} == gate["figures"]
    assert named["details"]["audit"]["weights_sha256"] == model.weights_sha256
    card = (RELEASE / "MODEL_CARD.md").read_text()
    for sentence in named["details"]["audit"]["red"]:
        assert f"**RED: {sentence}**" in card


def test_every_sheet_is_there_and_says_what_it_is_not_for(named: dict[str, Any]) -> None:
    for name in SHEETS:
        text = " ".join((RELEASE / name).read_text().split())
        assert "research and teaching only" in text
        assert re.search(r"not (be used )?for diagnosis", text)


def test_every_figure_has_n_set_method_and_interval(report: dict[str, Any]) -> None:
    found = list(metrics_in(report))

    assert len(found) > 20
    for metric in found:
        assert set(metric) == {"value", "low", "high", "n", "set", "method"}
        if metric["value"] is not None and metric["low"] is not None:
            assert metric["low"] <= metric["value"] <= metric["high"]  # type: ignore[operator]


def test_every_figure_of_the_card_is_in_the_evaluation(report: dict[str, Any]) -> None:
    """Figures with an interval are written ``0.812 (0.801-0.823)``; the design's text has some of its own."""
    card, design = (RELEASE / "MODEL_CARD.md").read_text(), str(report["details"]["design"])
    assert design in card
    card = card.replace(design, "")
    known = {
        f"{metric['value']:.3f} ({metric['low']:.3f}-{metric['high']:.3f})"
        for metric in metrics_in(report)
        if metric["value"] is not None and metric["low"] is not None
    }

    stated = re.findall(r"\d\.\d{3} \(\d\.\d{3}-\d\.\d{3}\)", card)

    assert len(stated) >= 5
    assert set(stated) <= known


def test_it_is_better_than_chance_on_the_family_it_never_saw(details: dict[str, Any]) -> None:
    area = details["sets"]["radiography: COVID-19 against normal"]["metrics"]["roc_auc"]

    assert area["low"] > 0.5


def test_no_path_of_any_machine_is_in_the_release() -> None:
    for path in RELEASE.iterdir():
        if path.suffix in (".json", ".md"):
            assert not re.search(r"/(home|root|work|tmp|Users|mnt)/", path.read_text()), path.name


def test_the_split_that_made_it_parts_no_patient_and_holds_two_families_out(
    shared: Path, model: Model
) -> None:
    manifest = shared / "cxr" / "manifest.csv"
    if not manifest.is_file() or data.manifest_sha256(manifest) != model.provenance["data_sha256"]:
        pytest.skip("the manifest that the model was trained on is not here")
    films = data.read_manifest(manifest, model.config.data.labels)
    subset_of = data.read_split(RELEASE / "split.csv.gz")

    data.check_split(films, subset_of, model.config.data)

    assert model.config.data.held_out_sources == ("radiography", "hannover")
    trained = {film.source for film in films if subset_of.get(film.path) in ("train", "validation")}
    assert not trained & {"radiography", "hannover"}


def test_films_of_a_family_it_never_saw_are_told_better_than_by_chance(shared: Path, model: Model) -> None:
    manifest = shared / "cxr" / "manifest.csv"
    if not manifest.is_file():
        pytest.skip("the shared radiographs are not here: no manifest.csv")
    films, _ = data.leave_out(data.read_manifest(manifest, model.config.data.labels), model.config.data)
    subset_of = data.read_split(RELEASE / "split.csv.gz")
    unseen = [film for film in films if film.source == "radiography" and subset_of[film.path] == "test"]
    chosen = [film for label in ("covid", "normal") for film in unseen if film.label == label]
    chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, 120).astype(int)]
    predictor = Predictor()

    scores = np.array([predictor(load_picture(manifest.parent / film.path)).probability for film in chosen])
    inverted = predictor(1 - load_picture(manifest.parent / chosen[0].path)).probability

    truth = np.array([film.label == "covid" for film in chosen])
    # By chance the area of 120 films exceeds 0.6 in one of thirty draws: its deviation is 0.053.
    assert weighted_auc(scores, truth, np.ones((1, 120)))[0] > 0.6
    assert abs(inverted - scores[0]) > 1e-4
