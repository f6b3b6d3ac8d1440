"""Manifests become one: paths lead to the films, patients and groups are not mixed up, copies are held."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import manifests
from model.config import LABELS
from model.folds import group_units
from model.manifest import Film, read_manifest
from model.phantom import draw
from model.sources import write_manifest


def phantom(path: Path, seed: int, side_px: int = 128) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Blocks of random grey: no two look alike to the hash, as drawn chests do.
    blocks = np.random.default_rng(seed).integers(0, 255, (12, 12)).astype(np.uint8)
    Image.fromarray(blocks).resize((side_px, side_px), Image.Resampling.BICUBIC).save(path)


def manifest(folder: Path, *films: Film) -> Path:
    """Write a manifest, and a phantom for each film that has none yet."""
    for film in films:
        if not (folder / film.path).exists():
            phantom(folder / film.path, 100 + len(str(folder)) * 50 + sum(film.path.encode()))
    write_manifest(folder / "manifest.csv", films)
    return folder / "manifest.csv"


def film(path: str, source: str = "ours", patient: str = "", **rest: str) -> Film:
    return Film(path, rest.pop("label", "covid"), patient, source, **rest)


def run(*arguments: Path | str) -> int:
    return manifests.main(["join", *map(str, arguments)])


def refused(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> str:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_paths_lead_to_the_films_and_every_column_stays(tmp_path: Path) -> None:
    full = Film("x/a.png", "normal", "cohen-7", "cohen", "PA", "child", "g1", "CC0")
    one = manifest(tmp_path / "sets" / "one", full)
    two = manifest(tmp_path / "two", film("b.png"))
    (tmp_path / "joined").mkdir()

    assert run(one, two, "--out", tmp_path / "joined" / "all.csv") == 0

    first, second = read_manifest(tmp_path / "joined" / "all.csv", LABELS)
    assert first == Film("../sets/one/x/a.png", "normal", "cohen-7", "cohen", "PA", "child", "1-g1", "CC0")
    assert second.path == "../two/b.png"
    assert all((tmp_path / "joined" / found.path).is_file() for found in (first, second))


def test_patients_and_groups_of_different_sources_are_apart_and_shared_ones_stay_together(
    tmp_path: Path,
) -> None:
    one = manifest(
        tmp_path / "one", film("a.png", "north", "7", group="g0"), film("b.png", "cohen", "cohen-7")
    )
    two = manifest(
        tmp_path / "two",
        film("a.png", "south", "7", group="g0"),
        film("b.png", "darkcovidnet", "cohen-7"),
        film("c.png", "north", "7"),
        film("d.png", "south"),
    )

    run(one, two, "--out", tmp_path / "all.csv")

    films = read_manifest(tmp_path / "all.csv", LABELS)
    assert [found.patient_id for found in films] == [
        "north-7",
        "cohen-7",
        "south-7",
        "cohen-7",
        "north-7",
        "",
    ]
    assert group_units(films).tolist() == [0, 1, 2, 1, 0, 3]


def test_a_film_that_two_manifests_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = manifest(tmp_path / "one", film("x/a.png"))
    two = manifest(tmp_path, film("one/x/a.png"))

    said = refused(capsys, one, two, "--out", tmp_path / "all.csv")
    assert f"{one} and in {two}: leave one out" in said
    assert "leave one out" in refused(capsys, one, one, "--out", tmp_path / "all.csv")
    assert not (tmp_path / "all.csv").exists()


def test_films_without_a_source_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = manifest(tmp_path / "one", film("a.png", "", "7"), film("b.png"))

    said = refused(capsys, one, "--out", tmp_path / "all.csv")
    assert f"{one}: 1 of 2 films name no source" in said
    assert "--source NAME" in said


def test_a_manifest_is_not_written_over_its_parts_nor_into_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = manifest(tmp_path / "one", film("a.png"))

    assert "give another --out" in refused(capsys, one, "--out", one)
    assert "no folder at" in refused(capsys, one, "--out", tmp_path / "no" / "all.csv")
    assert "no manifest at" in refused(capsys, tmp_path / "lost.csv", "--out", tmp_path / "all.csv")


def test_copies_in_two_sets_are_held_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phantom(tmp_path / "one" / "a.png", 1)
    phantom(tmp_path / "one" / "b.png", 2)
    phantom(tmp_path / "one" / "c.png", 3)
    phantom(tmp_path / "two" / "other-name.jpg", 1, side_px=200)
    phantom(tmp_path / "two" / "b.png", 4)
    one = manifest(
        tmp_path / "one", film("a.png"), film("b.png"), film("c.png", group="g0"), film("d.png", group="g0")
    )
    # A copy of c joins the group that c has already.
    phantom(tmp_path / "two" / "c.jpg", 3, side_px=100)
    two = manifest(
        tmp_path / "two", film("other-name.jpg", "theirs", label="normal"), film("b.png", "theirs"),
        film("c.jpg", "theirs"),
    )  # fmt: skip
    out = tmp_path / "all.csv"

    run(one, two, "--out", out, "--group", "--cache", tmp_path / "looks.json")

    groups = [found.group for found in read_manifest(out, LABELS)]
    assert groups == ["g00000", "", "g00001", "g00001", "g00000", "", "g00001"]
    said = capsys.readouterr().out
    assert "2 groups hold 5 films, 3 at most; 2 groups are of several sources, 1 of several labels" in said


def test_what_cannot_be_compared_and_what_looks_all_alike_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    films = [film(f"{number}.png") for number in range(4)]
    for number in range(4):
        (tmp_path / "one").mkdir(exist_ok=True)
        drawn = (draw("normal", 0, side_px=64) * 255).astype(np.uint8)
        Image.fromarray(drawn).save(tmp_path / "one" / f"{number}.png")
    (tmp_path / "one" / "broken.png").write_bytes(b"no picture")
    one = manifest(tmp_path / "one", *films, film("broken.png"))

    run(one, "--out", tmp_path / "all.csv", "--group", "--cache", tmp_path / "looks.json")

    assert "1 films cannot be used and were not compared, the first: one/broken.png:" in caplog.text
    assert "4 of 5 films, one/0.png the first, are one group" in caplog.text


def test_a_share_of_a_label_is_kept_the_same_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [film(f"n{number}.png", "big", label="normal") for number in range(60)]
    rows += [film(f"p{number}.png", "big", label="pneumonia") for number in range(5)]
    rows += [film(f"n{number}.png", "small", label="normal") for number in range(60, 65)]
    write_manifest(tmp_path / "manifest.csv", rows)
    out = tmp_path / "all.csv"
    shares = ["--keep", "big:normal=0.5", "--keep", "big:pneumonia=0"]

    run(tmp_path / "manifest.csv", "--out", out, *shares)

    kept = read_manifest(out, LABELS)
    count = {
        key: sum((f.source, f.label) == key for f in kept) for key in {(f.source, f.label) for f in rows}
    }
    assert 15 < count["big", "normal"] < 45
    assert count["big", "pneumonia"] == 0
    assert count["small", "normal"] == 5
    run(tmp_path / "manifest.csv", "--out", out, *shares)
    assert read_manifest(out, LABELS) == kept
    for wrong, message in (
        ("big:normal=2", "from 0 to 1"),
        ("big", "SOURCE:LABEL=SHARE"),
        ("big:covid=0", "no film"),
    ):
        assert message in refused(capsys, tmp_path / "manifest.csv", "--out", out, "--keep", wrong)


def test_what_is_written_is_a_plain_manifest(tmp_path: Path) -> None:
    run(manifest(tmp_path / "one", film("a.png")), "--out", tmp_path / "all.csv")

    with (tmp_path / "all.csv").open(newline="") as file:
        assert next(csv.reader(file)) == [
            "path", "label", "patient_id", "source", "view", "age_group", "group", "licence",
        ]  # fmt: skip
