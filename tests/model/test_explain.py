"""Maps are drawn over the film on a scale that is stated; the served one never moves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from model.cam import scaled_cam
from model.explain import main, own_scale
from model.overlay import Scale, overlay, picture


def test_the_scale_is_fixed_and_cut_off() -> None:
    raw = torch.tensor([[[0.0, 0.1], [0.2, 5.0]]])

    torch.testing.assert_close(scaled_cam(raw, 0.4), torch.tensor([[[0.0, 0.25], [0.5, 1.0]]]))


def test_where_the_map_is_nothing_the_film_shows_unchanged() -> None:
    film = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)

    shown = overlay(film, np.zeros((2, 2), np.float32))

    np.testing.assert_array_equal(shown, np.rint(np.stack([film] * 3, -1) * 255).astype(np.uint8))


def test_for_and_against_covid_are_told_apart_by_colour() -> None:
    cam = np.zeros((2, 2), np.float32)
    cam[1, 1], cam[0, 0] = 1, -1

    shown = overlay(np.full((20, 20), 0.5, np.float32), cam).astype(int)

    red, green, blue = shown[-1, -1]
    assert min(red, green) > blue + 100, "yellow"
    red, _, blue = shown[0, 0]
    assert blue > red + 50
    assert len(set(shown[0, -1])) == 1


def texts(drawn: Figure) -> str:
    return " ".join(text.get_text() for text in drawn.findobj(Text))


def test_the_picture_says_what_its_numbers_are_and_where_the_scale_comes_from() -> None:
    film, cam = np.zeros((40, 30), np.float32), np.full((2, 2), 0.25, np.float32)
    cam[0, 0] = 0.75

    drawn = picture(film, cam, Scale(0.5, "fixed by the model"), "gradcam: positive", "part of log P")

    shown = texts(drawn)
    assert "gradcam: positive" in shown
    assert "part of log P" in shown
    assert "fixed by the model" in shown
    assert "25.0% of the map lies beyond" in shown
    ramp = drawn.axes[1]
    assert ramp.get_ylim() == (0, 0.5), "the numbers are the map's own"


def test_only_a_map_that_speaks_against_covid_has_a_scale_below_zero() -> None:
    film, cam = np.zeros((40, 30), np.float32), np.array([[0.1, -0.2]], np.float32)

    assert picture(film, cam, Scale(0.5, "x"), "", "").axes[1].get_ylim() == (-0.5, 0.5)


def test_a_films_own_scale_is_called_so_and_an_empty_map_has_one() -> None:
    assert "THIS FILM'S OWN" in own_scale(np.ones((3, 3), np.float32)).origin
    assert own_scale(np.full((3, 3), -2, np.float32)).top == 2
    assert own_scale(np.zeros((3, 3), np.float32)).top == 1


@pytest.fixture
def film(tmp_path: Path) -> Path:
    grey = np.random.default_rng(0).integers(0, 255, (80, 50), np.uint8)
    Image.fromarray(grey).save(tmp_path / "film.png")
    return tmp_path / "film.png"


def test_the_command_draws_the_served_map_on_the_models_scale(
    model_folder: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([str(film), "--model", str(model_folder), "--out", str(tmp_path / "maps")])

    assert code == 0
    with Image.open(tmp_path / "maps" / "001-film-gradcam.png") as drawn:
        assert drawn.width < drawn.height, "the film is higher than it is wide"
    said = capsys.readouterr().out
    assert "research" in said
    assert "scale 0.5: fixed by the model" in said


def test_the_command_takes_the_scale_of_another_map_from_films(
    model_folder: Path, film: Path, families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(film), "--map", "gradcam++", "--model", str(model_folder), "--out", str(tmp_path)]

    main([*asked, "--scale-from", str(families)])
    measured = capsys.readouterr().out
    main(asked)

    assert "99th percentile over 28 films of manifest.csv" in measured
    assert "THIS FILM'S OWN" in capsys.readouterr().out


@pytest.mark.parametrize("scale", ["0", "-1", "nan"])
def test_the_command_refuses_a_scale_that_is_none(
    scale: str, model_folder: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(film), "--scale", scale, "--model", str(model_folder), "--out", str(tmp_path)])

    assert "--scale must be above 0" in capsys.readouterr().err


def test_the_command_names_a_file_that_is_no_film(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.png").write_text(json.dumps("no film"))

    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "film.png"), "--model", str(model_folder), "--out", str(tmp_path)])

    assert ended.value.code == 2
    assert "film.png" in capsys.readouterr().err


def test_a_film_too_small_to_judge_gets_no_map(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "dot.png")

    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "dot.png"), "--model", str(model_folder), "--out", str(tmp_path / "maps")])

    assert ended.value.code == 2
    assert "dot.png: expected a film of at least" in capsys.readouterr().err
    assert not list((tmp_path / "maps").iterdir())
