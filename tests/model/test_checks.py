"""Before hours are spent, films are looked at: what cannot be read, looks alike, or is lopsided."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import checks
from model.manifest import Film
from model.near_duplicates import close_pairs, difference_hash, look_at, look_at_all, state_of
from model.phantom import draw


def save(path: Path, image_HW: np.ndarray) -> None:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image_HW * 255).astype(np.uint8)).save(path)


def bits_apart(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


def test_the_hash_knows_a_film_again_in_another_size_exposure_and_file_format(tmp_path: Path) -> None:
    film = draw("covid", 1, side_px=320)
    save(tmp_path / "large.jpg", film)
    Image.fromarray((film * 200 + 20).astype(np.uint8)).resize((200, 190)).save(tmp_path / "small.png")

    looks = [look_at(tmp_path / name) for name in ("large.jpg", "small.png")]
    stranger = difference_hash(draw("normal", 77))

    assert [look.reason for look in looks] == ["", ""]
    assert bits_apart(looks[0].words, looks[1].words) <= 14
    assert bits_apart(looks[0].words, stranger) > 14


def test_all_pairs_are_compared_also_across_blocks() -> None:
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, (1300, 4), np.uint64)
    hashes[1200] = hashes[3]
    hashes[700] = hashes[699]
    hashes[700, 2] ^= np.uint64(0b111)

    assert close_pairs(hashes) == [(3, 1200, 0), (699, 700, 3)]
    assert close_pairs(hashes, most_bits=2) == [(3, 1200, 0)]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((1, 1)), "1 x 1 pixels, expected at least 32 a side"),
        (np.full((64, 64), 0.5), "one grey value"),
    ],
)
def test_a_film_that_shows_nothing_cannot_be_used(image: np.ndarray, reason: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    save(tmp_path / "film.png", image)

    assert reason in look_at(tmp_path / "film.png").reason


def test_what_was_seen_is_not_read_again_unless_it_changes(tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "looks.json"
    save(tmp_path / "a.png", draw("covid", 1))
    first = look_at_all(tmp_path, ["a.png", "missing.png"], cache)

    marked = json.loads(cache.read_text())
    for look in marked.values():
        look[1] = [1, 2, 3, 4]
    cache.write_text(json.dumps(marked))
    kept = look_at_all(tmp_path, ["a.png"], cache)
    save(tmp_path / "a.png", draw("normal", 2, side_px=100))
    fresh = look_at_all(tmp_path, ["a.png"], cache)

    assert "missing.png" in first[1].reason
    assert kept[0].words == (1, 2, 3, 4)
    assert fresh[0].words == difference_hash(
        np.asarray(Image.open(tmp_path / "a.png"), np.float32) / np.float32(255)
    )


def test_a_film_that_could_not_be_read_is_looked_at_anew(tmp_path: Path) -> None:
    # What was mended, a permission or a decoder, changed neither size nor time of the file.
    cache = tmp_path / "looks.json"
    save(tmp_path / "a.png", draw("covid", 1))
    (tmp_path / "b.png").write_bytes(b"broken")
    cache.write_text(json.dumps({state_of(tmp_path / "a.png"): ("permission denied", (0, 0, 0, 0))}))

    mended, broken = look_at_all(tmp_path, ["a.png", "b.png"], cache)

    assert mended == look_at_all(tmp_path, ["a.png"])[0]
    assert "expected a PNG or JPEG" in broken.reason
    assert [reason for reason, _ in json.loads(cache.read_text()).values()] == [""]


def test_films_that_name_no_patient_are_told(tmp_path: Path) -> None:
    films = [Film(f"{n}.png", "covid" if n % 2 else "normal") for n in range(4)]
    for n, film in enumerate(films):
        save(tmp_path / film.path, np.random.default_rng(n).random((64, 64)))

    assert "no film names its patient" in checks.check(films, tmp_path, {}).in_words()
    after_files = [Film(film.path, film.label, Path(film.path).stem) for film in films]
    assert "no film names its patient" in checks.check(after_files, tmp_path, {}).in_words()
    named = [Film(film.path, film.label, f"p{n}") for n, film in enumerate(films)]
    assert "no film names its patient" not in checks.check(named, tmp_path, {}).in_words()


def test_the_report_names_copies_on_both_sides_of_a_split_and_lopsided_classes(tmp_path: Path) -> None:
    films = [Film(f"{n}.png", "normal", f"n{n}", "here") for n in range(6)]
    films += [Film(f"c{n}.png", "covid", "the-only-one", "there") for n in range(3)]
    for n, film in enumerate(films):
        save(tmp_path / film.path, np.random.default_rng(n).random((64, 64)))
    save(tmp_path / "5.png", np.random.default_rng(0).random((64, 64)))
    subset_of = {film.path: "train" for film in films} | {"5.png": "test"}

    report = checks.check(films, tmp_path, subset_of)
    together = checks.check(films, tmp_path, subset_of | {"5.png": "train"})

    assert [(pair["first"], pair["second"], pair["bits"]) for pair in report.near_duplicates] == [
        ("0.png", "5.png", 0)
    ]
    assert together.near_duplicates == []
    assert report.counts == {"here": {"normal": 6}, "there": {"covid": 3}}
    words = report.in_words()
    assert "all 3 films of class covid are of one patient" in words
    assert "class covid comes from there alone" in words
    assert "0.png (train) and 5.png (test)" in words
    assert report.errors == []


def test_the_command_ends_with_1_if_a_film_cannot_be_used(
    families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache", str(tmp_path / "looks.json"), "--json", str(tmp_path / "report.json")]
    assert checks.main(["--data", str(families), *cache]) == 0
    assert "nih: normal 14, pneumonia 14" in capsys.readouterr().out

    (families.parent / "holed-check.csv").write_text(families.read_text().replace("nih-normal-", "missing-"))
    assert checks.main(["--data", str(families.parent / "holed-check.csv"), *cache]) == 1

    assert "error: 14 films cannot be used" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "report.json").read_text())["unreadable"]) == 14
