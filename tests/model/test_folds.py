"""Folds part no patient and no group, hold their share of every class, and are kept in a file."""

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import data
from model.config import LABELS, DataConfig
from model.folds import main
from model.manifest import Film

films = st.lists(
    st.builds(
        Film,
        path=st.uuids().map(str),
        label=st.sampled_from(LABELS),
        patient_id=st.sampled_from(["", "p1", "p2", "p3", "p4", "p5"]),
        source=st.sampled_from(["a", "b"]),
        view=st.sampled_from(["PA", "L"]),
        group=st.sampled_from(["", "g1", "g2", "g3", "g4", "g5", "g6"]),
    ),
    min_size=4,
    max_size=40,
    unique_by=lambda film: film.path,
)


def units_kept(drawn: list[Film]) -> int:
    """Return how many patients or groups have a film that is not left out."""
    kept = {film.path for film in data.leave_out(drawn, DataConfig())[0]}
    units = data.group_units(drawn).tolist()
    return len({unit for film, unit in zip(drawn, units, strict=True) if film.path in kept})


@settings(max_examples=50, deadline=None)
@given(films, st.integers(2, 5), st.integers(0, 3))
def test_folds_never_part_a_patient_or_a_group(drawn: list[Film], k: int, seed: int) -> None:
    if units_kept(drawn) < k:
        return
    fold_of = data.folds(drawn, k, seed)

    kept, _ = data.leave_out(drawn, DataConfig())
    assert set(fold_of) == {film.path for film in kept}
    assert set(fold_of.values()) == set(range(k))
    for key in ("patient_id", "group"):
        seen: dict[str, set[int]] = defaultdict(set)
        for film in drawn:
            if getattr(film, key) and film.path in fold_of:
                seen[getattr(film, key)].add(fold_of[film.path])
        assert all(len(numbers) == 1 for numbers in seen.values())


@settings(max_examples=50, deadline=None)
@given(films, st.integers(0, 3))
def test_the_split_of_a_fold_tests_it_alone_and_parts_nothing(drawn: list[Film], seed: int) -> None:
    if units_kept(drawn) < 2:
        return
    fold_of = data.folds(drawn, 2, seed)
    config = DataConfig(test_fraction=0.3)

    subset_of = data.fold_split(drawn, fold_of, 0, config, seed)

    assert {path for path, subset in subset_of.items() if subset == "test"} == {
        path for path, fold in fold_of.items() if fold == 0
    }
    assert set(subset_of) == set(fold_of)
    data.check_split(drawn, subset_of, config)


def test_a_film_that_is_left_out_still_joins_two_others() -> None:
    chains = [
        film
        for n in range(40)
        for film in (
            Film(f"a{n}", "covid", patient_id=f"p{n}"),
            Film(f"lateral{n}", "covid", patient_id=f"p{n}", group=f"g{n}", view="L"),
            Film(f"b{n}", "covid", group=f"g{n}"),
        )
    ]

    subset_of = data.fold_split(chains, data.folds(chains, 4, 0), 0, DataConfig(), 0)

    assert len(subset_of) == 80
    assert all(subset_of[f"a{n}"] == subset_of[f"b{n}"] for n in range(40))


def test_folds_hold_their_share_of_every_class_also_with_patients_of_many_films() -> None:
    many = [Film(f"{n}", "covid" if n % 5 == 0 else "normal", f"p{n // 3}", "a") for n in range(900)]

    fold_of = data.folds(many, 5, 0)

    for label, films_of_label in Counter(film.label for film in many).items():
        counts = Counter(fold_of[film.path] for film in many if film.label == label)
        assert set(counts) == set(range(5))
        assert max(counts.values()) - min(counts.values()) <= 3, (label, counts)
        assert sum(counts.values()) == films_of_label


def test_folds_depend_on_their_seed_alone() -> None:
    many = [Film(str(n), "covid") for n in range(50)]

    assert data.folds(many, 5, 1) == data.folds(many, 5, 1)
    assert data.folds(many, 5, 1) != data.folds(many, 5, 2)


@pytest.mark.parametrize("name", ["folds.csv", "folds.csv.gz"])
def test_a_fold_file_can_be_given_back(name: str, tmp_path: Path) -> None:
    fold_of = {"a, with comma.png": 0, "b.png": 4}
    data.write_folds(tmp_path / name, fold_of)

    assert data.read_folds(tmp_path / name) == fold_of


def test_a_fold_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("path,fold\na.png,first\n")

    with pytest.raises(ValueError, match="folds are numbers from 0"):
        data.read_folds(tmp_path / "folds.csv")


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 patients or groups for 3 folds, came 2"):
        data.folds([Film("a", "covid", "p"), Film("b", "covid", "p"), Film("c", "covid")], 3, 0)


def test_patients_of_whom_every_film_is_left_out_fill_no_fold() -> None:
    adults = [Film(f"a{n}", "covid", f"p{n}") for n in range(3)]
    children = [Film(f"c{n}", "covid", f"q{n}", age_group="child") for n in range(5)]

    with pytest.raises(ValueError, match="at least 5 patients or groups for 5 folds, came 3"):
        data.folds(adults + children, 5, 0)


def test_a_class_of_fewer_patients_than_folds_is_told(caplog: pytest.LogCaptureFixture) -> None:
    films = [Film(f"{n}", "covid" if n < 2 else "normal", f"p{n}") for n in range(12)]

    data.folds(films, 5, 0)

    assert "class covid is in 2 of 5 folds: the others lack it" in caplog.text
    assert "class normal" not in caplog.text


def test_folds_of_other_films_are_refused_and_not_taken_for_none(caplog: pytest.LogCaptureFixture) -> None:
    films = [Film(f"covid/{n}.png", "covid") for n in range(10)]
    fold_of = data.folds(films, 2, 0)
    moved = [dataclasses.replace(film, path=f"films/{film.path}") for film in films]

    with pytest.raises(ValueError, match=r"names none of the 10 films: expected paths as films/covid/0\.png"):
        data.fold_split(moved, fold_of, 0, DataConfig(), 0)

    subset_of = data.fold_split(films[:9], fold_of, 0, DataConfig(), 0)
    assert set(subset_of) == {film.path for film in films[:9]}
    assert "1 of the 10 films of the fold file are not in the manifest" in caplog.text


def test_the_command_writes_folds(families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(families), "--out", str(tmp_path / "folds.csv"), "--folds", "7"]) == 0

    assert set(data.read_folds(tmp_path / "folds.csv").values()) == set(range(7))
    assert "fold 6: 12 films" in capsys.readouterr().out


def test_folds_are_not_written_over_their_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("path,label\n" + "".join(f"{n}.png,covid\n" for n in range(9)))
    before = path.read_bytes()

    with pytest.raises(SystemExit) as ended:
        main(["--data", str(path), "--out", str(path)])

    assert ended.value.code == 2
    assert "is the manifest itself: give another --out" in capsys.readouterr().err
    assert path.read_bytes() == before
