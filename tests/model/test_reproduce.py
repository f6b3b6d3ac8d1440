"""The studies behind the release: what each run is given, that a series goes on, and what is gathered."""

import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import reproduce, study_figures
from model.config import from_dict, to_dict
from model.folds import read_folds
from model.metrics import Units
from model.predictions import Predictions, write_predictions
from model.studies import RECIPES, STUDIES, WANTED, config_of, recipe_sha256

KINDS = (
    ("darkcovidnet", "covid"), ("darkcovidnet", "normal"), ("darkcovidnet", "pneumonia"),
    ("cohen", "covid"), ("cohen", "pneumonia"), ("rsna", "normal"), ("rsna", "pneumonia"),
    ("radiography", "covid"), ("radiography", "normal"), ("hannover", "covid"),
)  # fmt: skip


@pytest.fixture
def manifest(manifest_of: Callable[[Sequence[dict[str, str]]], Path], tmp_path: Path) -> Path:
    """Ten films of each kind; of darkcovidnet's COVID-19 two films each are of one patient."""
    for source, _ in KINDS:
        (tmp_path / source).mkdir(exist_ok=True)
    rows = [
        {
            "path": f"{source}/{label}-{n}.png",
            "label": label,
            "source": source,
            "patient_id": f"{source}-{label}-{n // 2 if (source, label) == KINDS[0] else n}",
        }
        for source, label in KINDS
        for n in range(10)
    ]
    return manifest_of(rows)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_study(name: str, network: str, manifest: Path, folder: Path) -> None:
    reproduce.write_study(config_of(STUDIES[name], network), STUDIES[name], manifest, folder)


def test_the_published_protocol_deals_films_and_the_other_patients(manifest: Path, tmp_path: Path) -> None:
    parted = {}
    for name in ("darkcovidnet-binary", "darkcovidnet-binary-grouped"):
        write_study(name, "darkcovidnet", manifest, tmp_path / name)
        films, fold_of = rows(tmp_path / name / "films.csv"), read_folds(tmp_path / name / "folds.csv")
        assert {film["label"] for film in films} == {"covid", "normal"}
        assert {film["source"] for film in films} == {"darkcovidnet"}
        assert set(fold_of) == {film["path"] for film in films}
        assert (tmp_path / name / films[0]["path"]).is_file(), "the films are found from the study's folder"
        pairs = [
            (fold_of[f"darkcovidnet/covid-{n}.png"], fold_of[f"darkcovidnet/covid-{n + 1}.png"])
            for n in (0, 2, 4, 6, 8)
        ]
        parted[name] = sum(first != second for first, second in pairs)

    assert parted["darkcovidnet-binary"] > 0
    assert parted["darkcovidnet-binary-grouped"] == 0


def test_within_cohen_folds_cohen_alone_and_trains_on_nih_too(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "within"
    write_study("within-cohen", "efficientnet-lite0", manifest, folder)

    assert {path.split("/")[0] for path in read_folds(folder / "folds.csv")} == {"cohen"}
    assert {film["source"] for film in rows(folder / "films.csv")} == {"cohen", "rsna"}


@pytest.mark.parametrize("network", sorted(RECIPES))
@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_study_has_a_whole_config_for_every_network(name: str, network: str) -> None:
    config = config_of(STUDIES[name], network)

    assert config.network == RECIPES[network].network
    assert config.data.held_out_sources == STUDIES[name].held_out


def test_every_figure_is_of_a_study_and_every_study_of_a_figure() -> None:
    assert {wanted.study for wanted in WANTED.values()} == set(STUDIES)


def test_a_network_without_a_recipe_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"recipe .*darkcovidnet.*came 'vgg'"):
        config_of(STUDIES["within-cohen"], "vgg")


def test_runs_of_another_recipe_are_not_mixed_with_these(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_study("held-out-cohen", "teaching-cnn", manifest, folder)
    with pytest.raises(ValueError, match="another recipe"):
        write_study("held-out-cohen", "densenet121", manifest, folder)


def test_a_manifest_without_the_studys_films_says_so(
    manifest_of: Callable[[Sequence[dict[str, str]]], Path], tmp_path: Path
) -> None:
    other = manifest_of([{"path": "a.png", "label": "covid", "source": "elsewhere"}])
    with pytest.raises(ValueError, match="has no film of darkcovidnet"):
        reproduce.films_of(STUDIES["darkcovidnet-binary"], other)


def test_runs_on_other_films_are_not_gone_on_with(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_study("held-out-cohen", "teaching-cnn", manifest, folder)
    before = (folder / "films.csv").read_bytes()
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([lines[0], *lines[2:]]) + "\n")

    with pytest.raises(ValueError, match=r"other films than those of manifest\.csv: give"):
        write_study("held-out-cohen", "teaching-cnn", manifest, folder)
    assert (folder / "films.csv").read_bytes() == before


def evaluation(folder: Path, kinds: Sequence[tuple[str, str]], right: Sequence[bool]) -> Path:
    """Write the evaluation of a model of classes that calls some films rightly and the others not."""
    folder.mkdir(parents=True)
    names = ("covid", "pneumonia", "no_finding")
    class_of = {"covid": 0, "pneumonia": 1, "normal": 2}
    size = len(kinds)
    called = [
        (class_of[label] + (0 if good else 1)) % 3 for (_, label), good in zip(kinds, right, strict=True)
    ]
    logits = np.eye(3)[called]
    said = Predictions(
        [f"{folder.name}-{n}" for n in range(size)],
        [label for _, label in kinds],
        [source for source, _ in kinds],
        [""] * size,
        Units(np.arange(size), np.ones(size, bool)),
        np.linspace(0.1, 0.9, size),
        0.5,
        ["positive"] * size,
    )
    write_predictions(folder / "predictions.csv", said, dict(zip(names, logits.T, strict=True)))
    details = {"threshold_chosen_on": "a test", "classes": {"names": names, "class_of_label": class_of}}
    (folder / "metrics.json").write_text(json.dumps({"details": details}))
    return folder


def test_accuracy_of_classes_is_the_mean_over_folds(tmp_path: Path) -> None:
    kinds = [("darkcovidnet", label) for label in ("covid", "pneumonia", "normal", "normal")]
    folders = [
        evaluation(tmp_path / "fold-0", kinds, (True, True, True, False)),
        evaluation(tmp_path / "fold-1", kinds[:3], (True, False, False)),
    ]
    found = study_figures.figures_of("darkcovidnet-three-class", folders)["darkcovidnet_three_class_accuracy"]

    assert found["value"] == pytest.approx((3 / 4 + 1 / 3) / 2, abs=1e-4)
    assert found["n"] == 7
    assert found["low"] < found["value"] < found["high"]


def test_a_held_out_family_is_scored_by_its_own_films_and_question(tmp_path: Path) -> None:
    kinds = [
        ("radiography", "normal"), ("hannover", "covid"), ("radiography", "pneumonia"),
        ("radiography", "covid"), ("hannover", "covid"), ("rsna", "normal"),
    ]  # fmt: skip
    folder = evaluation(tmp_path / "report", kinds, [True] * 6)
    found = study_figures.figures_of("held-out-radiography", [folder])

    # Probabilities rise from 0.1 to 0.9: of radiography one COVID-19 film lies above one normal film.
    assert found["held_out_radiography_auc"]["value"] == 1.0
    assert found["held_out_radiography_auc"]["n"] == 2
    assert found["held_out_hannover_sensitivity"]["value"] == 0.5
    assert found["held_out_hannover_sensitivity"]["n"] == 2


def test_a_heads_own_answer_ranks_films_apart_from_the_joined_probability(tmp_path: Path) -> None:
    folders = []
    for fold in range(2):
        folder = tmp_path / f"fold-{fold}"
        folder.mkdir()
        size = 4
        said = Predictions(
            [f"{fold}-{n}" for n in range(size)], ["covid", "covid", "pneumonia", "other"], ["cohen"] * size,
            [""] * size, Units(np.arange(size), np.ones(size, bool)), np.array([0.1, 0.2, 0.8, 0.9]), 0.5,
            ["positive"] * size,
        )  # fmt: skip
        heads = {"abnormal": np.array([-9.0, -9, 9, 9]), "covid_given_abnormal": np.array([3.0, 1, 2, -1])}
        write_predictions(folder / "predictions.csv", said, heads)
        (folder / "metrics.json").write_text(json.dumps({"details": {"threshold_chosen_on": "a test"}}))
        folders.append(folder)
    found = study_figures.figures_of("within-cohen", folders)

    assert found["within_cohen_auc"]["value"] == 0.0
    assert found["within_cohen_auc_covid_head"]["value"] == 0.75
    assert "by the head covid_given_abnormal alone" in found["within_cohen_auc_covid_head"]["set"]


def test_the_table_says_what_was_not_run() -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 7, "set": "s", "method": "m"}
    table = study_figures.as_table({"densenet121": {"held_out_cohen_auc": figure}})

    assert "0.500 (0.400-0.600), n 7" in table
    assert table.count("not run") == len(WANTED) - 1


def test_a_series_goes_on_after_a_broken_run_and_gathers_what_is_there(
    manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "studies"
    asked = [
        "--data", str(manifest), "--out", str(out), "--network", "teaching-cnn",
        "--study", "held-out-cohen", "held-out-radiography", "--quick", "--jobs", "2",
    ]  # fmt: skip
    broken, whole = out / "teaching-cnn" / "held-out-cohen", out / "teaching-cnn" / "held-out-radiography"
    in_the_way = broken / "model"
    broken.mkdir(parents=True)
    in_the_way.write_text("no folder")
    with pytest.raises(SystemExit, match="2"):
        reproduce.main(asked)
    assert "held-out-cohen: training ended with code 2; the same command goes on" in capfd.readouterr().err
    written = (whole / "report" / "report.html").stat().st_mtime_ns
    in_the_way.unlink()
    assert reproduce.main(asked) == 0

    assert (whole / "report" / "report.html").stat().st_mtime_ns == written
    config = from_dict(json.loads((broken / "config.json").read_text()))
    assert [head.name for head in config.heads] == ["abnormal"]
    figures = json.loads((out / "figures.json").read_text())
    found = figures["details"]["networks"]["teaching-cnn"]["held_out_cohen_auc"]
    assert found["n"] == 20
    quick = config_of(STUDIES["held-out-cohen"], "teaching-cnn", quick=True)
    assert figures["details"]["recipes"]["teaching-cnn"]["held-out-cohen"] == recipe_sha256(quick)
    assert "held_out_cohen_auc" not in figures, "figures of other networks are not the release's"
    assert "| teaching-cnn |" in capfd.readouterr().out


def test_runs_side_by_side_share_the_threads(tmp_path: Path) -> None:
    (unit,) = reproduce.units_of(tmp_path, ["teaching-cnn"], ["held-out-cohen"])

    assert "--threads" not in reproduce.command_of(unit)
    shared = reproduce.command_of(unit, 10_000)
    assert shared[shared.index("--threads") + 1] == "1"
    half = reproduce.command_of(unit, 2)
    assert half[half.index("--threads") + 1] == str(max(1, (os.cpu_count() or 1) // 2))


def test_fewer_than_one_run_at_a_time_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        reproduce.main(["--data", "m.csv", "--out", "o", "--jobs", "0"])

    assert "--jobs: expected a whole number of 1 or more, came '0'" in capsys.readouterr().err


FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 7, "set": "s", "method": "m"}
UNTOLD = FIGURE | {"method": f"{FIGURE['method']}; {study_figures.UNTOLD}"}


def release(path: Path, networks: dict[str, list[str]], recipes: dict[str, dict[str, str]]) -> Path:
    """Write the ``metrics.json`` of a release with figures of its studies."""
    told = {network: dict.fromkeys(names, FIGURE) for network, names in networks.items()}
    path.write_text(json.dumps({"details": {"studies": {"networks": told, "recipes": recipes}}}))
    return path


def test_an_earlier_release_stands_for_studies_that_are_not_done_here(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    earlier = release(
        tmp_path / "metrics.json",
        {"darkcovidnet": ["held_out_cohen_auc"], "efficientnet-lite0": ["within_cohen_auc"]},
        {
            "darkcovidnet": {
                "held-out-cohen": recipe_sha256(config_of(STUDIES["held-out-cohen"], "darkcovidnet"))
            }
        },
    )
    units = reproduce.units_of(out, list(RECIPES), list(STUDIES))
    reproduce.write_figures(out, units, earlier)

    figures = json.loads((out / "figures.json").read_text())
    assert figures["within_cohen_auc"] == UNTOLD
    assert "held_out_cohen_auc" not in figures, "figures of other networks are not the release's"
    assert list(figures["details"]["networks"]) == ["efficientnet-lite0", "darkcovidnet"]
    assert figures["details"]["networks"]["darkcovidnet"] == {"held_out_cohen_auc": FIGURE}
    assert set(figures["details"]["recipes"]["darkcovidnet"]) == {"held-out-cohen"}
    assert "| darkcovidnet | not run |" in (out / "table.md").read_text()


def test_a_study_that_is_done_here_replaces_the_earlier_figure(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (unit,) = reproduce.units_of(out, ["teaching-cnn"], ["held-out-radiography"])
    kinds = [("radiography", "normal"), ("hannover", "covid"), ("radiography", "covid")]
    (evaluation(unit.report, kinds, [True] * 3) / "report.html").touch()
    config = config_of(STUDIES[unit.study], unit.network)
    (unit.folder / "config.json").write_text(json.dumps(to_dict(config)))
    names = ["held_out_hannover_sensitivity", "within_cohen_auc"]
    earlier = release(tmp_path / "metrics.json", {"teaching-cnn": names}, {})
    details = reproduce.write_figures(out, [unit], earlier)["details"]

    found = details["networks"]["teaching-cnn"]
    assert found["held_out_hannover_sensitivity"]["n"] == 1
    assert found["within_cohen_auc"] == UNTOLD
    assert details["recipes"] == {"teaching-cnn": {"held-out-radiography": recipe_sha256(config)}}


def test_figures_of_another_recipe_are_left_out_of_the_earlier_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = release(
        tmp_path / "metrics.json",
        {"teaching-cnn": ["held_out_cohen_auc", "within_cohen_auc"], "vgg": ["within_cohen_auc"]},
        {"teaching-cnn": {"held-out-cohen": "0" * 64}},
    )
    table, _ = study_figures.read_earlier(earlier)

    assert table == {"teaching-cnn": {"within_cohen_auc": UNTOLD}}
    assert "held_out_cohen_auc of teaching-cnn is of another recipe: left out" in caplog.text
    assert "within_cohen_auc of vgg is of another recipe" in caplog.text


def test_a_recipe_is_the_same_whatever_films_are_left_out_by_name() -> None:
    config = config_of(STUDIES["held-out-cohen"], "teaching-cnn")
    fewer = replace(config, data=replace(config.data, left_out_films={"a.png": "blurred"}))
    longer = replace(config, schedule=replace(config.schedule, epochs=99))

    assert recipe_sha256(config) == recipe_sha256(fewer) != recipe_sha256(longer)
