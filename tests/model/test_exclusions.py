"""Films that are named one by one are neither learned nor scored, and a model tells how many and why."""

import csv
from pathlib import Path

import pytest

from model import checks, data, evaluate, exclusions, folds
from model.checkpoint import load_model
from model.config import LABELS, DataConfig
from model.data import Film
from model.phantom import write_phantoms
from model.train import main

SHIPPED = Path(exclusions.__file__).with_name("exclusions.csv")
SMALL = ("--preset", "teaching", "--film-px", "32", "--input-px", "32", "--epochs", "1", "--steps", "2")


def table(path: Path, *rows: tuple[str, str], columns: tuple[str, str] = ("path", "reason")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_a_film_is_named_by_its_path_or_by_its_name_alone(tmp_path: Path) -> None:
    named = table(
        tmp_path / "out.csv", ("a/one.png", "blurred"), ("two", "negative"), ("four.png", "upside down")
    )
    config = DataConfig(left_out_films=exclusions.read_exclusions(named))
    films = [
        Film(path, "covid")
        for path in ("a/one.png", "b/one.png", "a/two.jpg", "two.png", "a/three.png", "c/four.png")
    ]

    kept, reasons = data.leave_out(films, config)

    assert [film.path for film in kept] == ["b/one.png", "a/three.png"]
    assert reasons == {"blurred": 1, "negative": 2, "upside down": 1}
    assert set(data.split_films(films, config, 0)) == {"b/one.png", "a/three.png"}


@pytest.mark.parametrize(
    ("columns", "row", "said"),
    [
        (("path", "why"), ("a.png", "blurred"), "no column.*reason"),
        (("path", "reason"), ("a.png", ""), "a name and a reason"),
        (("path", "reason"), ("", "blurred"), "a name and a reason"),
    ],
)
def test_a_table_that_says_too_little_is_refused(
    columns: tuple[str, str], row: tuple[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        exclusions.read_exclusions(table(tmp_path / "out.csv", row, columns=columns))


def test_a_stray_quote_leaves_no_film_in(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text('path,reason\na.png,"blurred\nb.png,negative\n')

    with pytest.raises(ValueError, match=r"out\.csv, line 2: expected CSV"):
        exclusions.read_exclusions(tmp_path / "out.csv")


def test_a_table_that_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_phantoms(tmp_path / "films", 6)
    missing = str(tmp_path / "none.csv")

    for command, out in ((main, "run"), (folds.main, "folds.csv")):
        with pytest.raises(SystemExit):
            command(["--data", str(manifest), "--out", str(tmp_path / out), "--exclude", missing])
        assert "expected a CSV file with the columns path,reason" in capsys.readouterr().err


def test_a_model_tells_what_was_left_out_and_leaves_it_out_of_its_evaluation(tmp_path: Path) -> None:
    manifest = write_phantoms(tmp_path / "films", 60)
    named = table(tmp_path / "out.csv", ("00000", "blurred"), ("normal/00005.png", "blurred"))
    out = tmp_path / "run"

    code = main(["--data", str(manifest), "--out", str(out), "--exclude", str(named), "--no-check", *SMALL])

    assert code == 0
    model = load_model(out / "model")
    assert model.config.data.left_out_films == {"00000": "blurred", "normal/00005.png": "blurred"}
    assert model.provenance["left_out"] == {"blurred": 2}
    assert sum(sum(counts.values()) for counts in model.provenance["films"].values()) == 58
    films, _, reasons = evaluate.choose(model, evaluate.Request(manifest))
    assert len(films) == 58
    assert reasons == {"blurred": 2}


def test_folds_and_checks_leave_the_same_films_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_phantoms(tmp_path / "films", 30)
    named = str(table(tmp_path / "out.csv", ("00000", "blurred")))

    folds.main(["--data", str(manifest), "--out", str(tmp_path / "folds.csv"), "--exclude", named])
    assert len(data.read_folds(tmp_path / "folds.csv")) == 29

    checks.main(["--data", str(manifest), "--cache", str(tmp_path / "looks"), "--exclude", named])
    said = capsys.readouterr().out
    assert "29 films" in said
    assert "left out: {'blurred': 1}" in said


def test_the_shipped_table_names_films_of_the_public_sets(shared: Path) -> None:
    named = exclusions.read_exclusions(SHIPPED)
    films = data.read_manifest(shared / "cxr" / "manifest.csv", LABELS)

    _, reasons = data.leave_out(films, DataConfig(left_out_films=named))

    assert reasons["stored as a negative"] == len(named) == 7
