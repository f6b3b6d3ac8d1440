"""A subset that lacks a class is told before training, with what there is and what to do."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from model import data
from model.class_checks import check_classes
from model.config import Config, DataConfig, one_head
from model.data import Film
from model.run import Run
from model.subsets import choose_films

SUBSETS = ("train", "validation", "calibration", "test")


def films(label: str, source: str, count: int, patient: str = "") -> list[Film]:
    names = [f"{source}-{label}-{n}" for n in range(count)]
    return [Film(f"{name}.png", label, patient or name, source) for name in names]


def write(folder: Path, rows: Sequence[Film]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient_id", "source"])
        writer.writerows([film.path, film.label, film.patient_id, film.source] for film in rows)
    return path


def dealt(**subsets: Sequence[Film]) -> tuple[dict[str, list[Film]], list[Film]]:
    chosen = {subset: list(subsets.get(subset, ())) for subset in SUBSETS}
    return chosen, [film for members in chosen.values() for film in members]


@pytest.mark.parametrize("seed", range(8))
def test_a_class_of_one_patient_is_refused_by_every_seed_before_anything_is_written(
    seed: int, tmp_path: Path
) -> None:
    manifest = write(tmp_path, [*films("covid", "a", 10, "one"), *films("normal", "a", 40)])
    config = one_head()
    config = replace(config, schedule=replace(config.schedule, seed=seed))
    (tmp_path / "run").mkdir()

    with pytest.raises(ValueError, match=r"class covid is empty: no (training|validation) film") as refused:
        choose_films(config, Run(manifest, tmp_path / "run"))

    said = str(refused.value)
    assert "answers yes to head covid; there are films of 1 patients or groups that do: 10 in " in said
    assert "give films of more patients" in said
    assert not list((tmp_path / "run").iterdir())


def test_a_class_that_an_unlucky_draw_keeps_from_validation_says_that_another_may_not() -> None:
    covid, rest = films("covid", "a", 3), films("normal", "a", 9)
    chosen, everything = dealt(train=[*covid[:2], *rest[:5]], validation=rest[5:], test=covid[2:])

    with pytest.raises(
        ValueError, match=r"no validation film answers yes .* of 3 .*: 2 in train, 1 in test. Another --seed"
    ):
        check_classes(one_head(), chosen, everything)


def test_each_answer_of_each_head_is_looked_for(tiny_config: Config) -> None:
    nih = [*films("pneumonia", "nih", 2), *films("normal", "nih", 2)]
    cohen = [*films("covid", "cohen", 2), *films("pneumonia", "cohen", 2)]
    chosen, everything = dealt(
        train=[*nih[::2], *cohen[::2]], validation=[*nih[1::2], cohen[1]], test=cohen[3:]
    )

    with pytest.raises(
        ValueError, match=r"class pneumonia .* no validation .* no to head covid_given_abnormal"
    ):
        check_classes(tiny_config, chosen, everything)


def test_a_head_that_no_validation_film_is_asked_is_told_and_left_to_the_others(
    tiny_config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a split of one's own that validates on one family; calibration is on another."""
    nih = [*films("pneumonia", "nih", 2), *films("normal", "nih", 2)]
    cohen = [*films("covid", "cohen", 2), *films("pneumonia", "cohen", 2)]
    there = [*films("covid", "elsewhere", 1), *films("normal", "elsewhere", 1)]
    chosen, everything = dealt(train=[*nih[::2], *cohen], validation=nih[1::2], calibration=there)
    config = replace(
        tiny_config, data=DataConfig(held_out_sources=("elsewhere",), calibration_sources=("elsewhere",))
    )

    check_classes(config, chosen, everything)

    assert "head covid_given_abnormal: no validation film is asked" in caplog.text


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ("covid", r"class everything but covid of elsewhere is empty: no calibration film answers no"),
        ("normal", r"class covid of elsewhere is empty: no calibration .* of 0 .*: none at all. Give films"),
    ],
)
def test_calibration_sources_of_one_class_are_told_before_training(
    there: str, message: str, tiny_config: Config
) -> None:
    whole = [film for label in ("pneumonia", "normal") for film in films(label, "nih", 2)]
    whole += [film for label in ("covid", "pneumonia") for film in films(label, "cohen", 2)]
    # That a film of another source shares a patient with the calibration films does not let it calibrate.
    joined = films("covid" if there == "normal" else "normal", "other", 1)
    chosen, everything = dealt(
        train=whole[::2], validation=whole[1::2], calibration=[*films(there, "elsewhere", 3), *joined]
    )
    config = replace(
        tiny_config, data=DataConfig(held_out_sources=("elsewhere",), calibration_sources=("elsewhere",))
    )

    with pytest.raises(ValueError, match=message):
        check_classes(config, chosen, everything)


def test_validation_films_that_calibrate_need_covid_among_them(tiny_config: Config) -> None:
    """Without a head that asks for COVID-19 alone only the calibration misses it."""
    head = replace(tiny_config.heads[0], sources=(), positive=("covid", "pneumonia"))
    rows: Mapping[str, list[Film]] = {
        label: films(label, "nih", 4) for label in ("covid", "pneumonia", "normal")
    }
    chosen, everything = dealt(
        train=[*rows["covid"], *rows["pneumonia"][:2], *rows["normal"][:2]],
        validation=[*rows["pneumonia"][2:], *rows["normal"][2:]],
    )

    with pytest.raises(
        ValueError, match=r"class covid is empty: no validation film answers yes to the calibration"
    ):
        check_classes(replace(tiny_config, heads=(head,)), chosen, everything)


def test_folds_of_a_manifest_with_enough_patients_are_taken(
    families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    everything = data.read_manifest(families, tiny_config.data.labels)
    data.write_folds(tmp_path / "folds.csv", data.folds(everything, 5, seed=0))

    for fold in range(5):
        chosen = choose_films(tiny_config, Run(families, tmp_path, folds=tmp_path / "folds.csv", fold=fold))
        assert chosen["test"]
