"""A map that names what the answer hangs on is told from one that does not, by numbers."""

import csv
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn
from watchers import SIDE_PX, model_that_watches

from model.bootstrap import Figure
from model.checkpoint import Model, save_model
from model.config import Config
from model.evaluate import Request
from model.faithfulness import draw, main
from model.maps import METHODS
from model.maps.agreement import (
    GRID,
    STEPS,
    area,
    blurred,
    on_grid,
    rank_correlation,
    steps_between,
    structural_similarity,
)  # fmt: skip
from model.maps.faithful import BASELINES, KINDS, MOST_LEFT, baseline, curves_of, verdict
from model.maps.randomise import cascade, parts
from model.metrics import Units
from model.network import FilmNetwork, build_network
from model.phantom import write_phantoms


def test_cells_go_in_the_order_of_the_map() -> None:
    cells = np.arange(GRID * GRID, dtype=np.float32).reshape(GRID, GRID)
    start, end = torch.ones(3, 32, 32), torch.zeros(3, 32, 32)

    batch = steps_between(start, end, cells)

    assert batch.shape == (STEPS + 1, 3, 32, 32)
    assert (batch[0] == 1).all()
    assert (batch[-1] == 0).all()
    # The last row of cells holds the 16 highest: a 16th of the film, two pixels high.
    assert (batch[1, :, 30:] == 0).all()
    assert (batch[1, :, :30] == 1).all()
    assert [float(film.mean()) for film in batch] == pytest.approx(np.linspace(1, 0, STEPS + 1))


def test_the_area_of_a_toy_curve_is_the_one_reckoned_by_hand() -> None:
    """Half of the answer hangs on the upper quarter: greyed out first, the area is 0.5 + 0.5 / 8."""
    cells = np.zeros((GRID, GRID), np.float32)
    cells[:4] = 1
    film = torch.ones(1, 32, 32)

    batch = steps_between(film, torch.zeros_like(film), cells)
    answer = 0.5 + 0.5 * batch[:, 0, :8].mean(dim=(1, 2)).double().numpy()

    assert answer[:6] == pytest.approx([1, 0.875, 0.75, 0.625, 0.5, 0.5])
    assert area(answer) == pytest.approx(0.5 + 0.5 / 8)
    assert area(np.array([0.0, 1.0])) == 0.5


def test_a_map_is_brought_to_the_grid_by_means_or_between_its_cells() -> None:
    fine = np.kron(np.arange(GRID * GRID).reshape(GRID, GRID), np.ones((2, 2))).astype(np.float32)
    np.testing.assert_allclose(on_grid(fine), fine[::2, ::2])

    coarse = on_grid(np.array([[0, 1], [0, 1]], np.float32))
    assert coarse.shape == (GRID, GRID)
    assert (np.diff(coarse, axis=1) >= 0).all()


def test_blur_takes_details_and_keeps_the_level() -> None:
    noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))

    assert blurred(noise).std() < 0.1 * noise.std()
    torch.testing.assert_close(blurred(torch.full((3, 64, 64), 0.4)), torch.full((3, 64, 64), 0.4))


def test_maps_agree_with_themselves_and_a_flat_one_with_none() -> None:
    generator = np.random.default_rng(0)
    one, other = (generator.random((8, 8)).astype(np.float32) for _ in range(2))

    assert rank_correlation(one, one) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert rank_correlation(one, np.zeros((8, 8), np.float32)) == 0
    assert structural_similarity(one, 3 * one) == pytest.approx(1, abs=1e-4)
    assert structural_similarity(one, other) < 0.5


def test_a_faithful_map_beats_noise_and_the_centre() -> None:
    """The answer hangs on one corner; every map must find it, the hill in the middle must not."""
    model = model_that_watches("corner", gain=300.0)
    film = torch.zeros(3, SIDE_PX, SIDE_PX)
    film[:, :8, 56:] = 3.0
    with torch.no_grad():
        # Blurred, the corner is not bright enough any more.
        model.network.heads.bias -= 11

    areas = curves_of(model, [film, film * 1.1], seed=1).areas()

    for name in METHODS:
        for other in BASELINES:
            assert areas[f"{name}_deletion"].mean() < areas[f"{other}_deletion"].mean() - 0.1
        assert areas[f"{name}_insertion"].mean() > areas["centre_insertion"].mean() + 0.1


def test_baselines_know_nothing_of_the_film() -> None:
    assert np.unravel_index(baseline("centre", 0).argmax(), (GRID, GRID)) in {(7, 7), (7, 8), (8, 7), (8, 8)}
    assert (baseline("random", 1) == baseline("random", 1)).all()
    assert (baseline("random", 1) != baseline("random", 2)).any()


# Random weights


def weights(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}


def test_weights_become_random_from_the_head_down(network: FilmNetwork) -> None:
    films = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = weights(network)
    changed: list[set[str]] = []
    for _, random in cascade(network, films, seed=1):
        now = weights(random)
        changed.append({name for name in before if (now[name] != before[name]).any()})
        features = random.features(films)
        assert not random.training
        assert torch.isfinite(features).all()
        assert features.std() > 1e-2, "the signal must not fade"

    assert changed[0] == {"heads.weight"} | ({"heads.bias"} & changed[0])
    assert all(less < more for less, more in pairwise(changed))
    assert "backbone._conv_stem.weight" not in changed[-2]
    flat = {name for name, value in before.items() if value.std() == 0}
    assert changed[-1] >= set(before) - flat
    assert all((weights(network)[name] == value).all() for name, value in before.items())


def test_random_weights_keep_mean_and_deviation_and_hang_on_the_seed(network: FilmNetwork) -> None:
    films = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    name = "backbone._conv_stem.weight"
    *_, (_, one) = cascade(network, films, seed=1)
    first = weights(one)
    *_, (_, again) = cascade(network, films, seed=1)
    *_, (_, other) = cascade(network, films, seed=2)

    assert (weights(again)[name] == first[name]).all()
    assert (weights(other)[name] != first[name]).any()
    assert first[name].std() == pytest.approx(weights(network)[name].std(), rel=0.3)


def test_every_layer_with_weights_is_in_one_part(network: FilmNetwork) -> None:
    inside = [layer for _, layers in parts(network) for layer in layers]

    held = [m for m in network.modules() if list(m.parameters(recurse=False))]
    assert len(inside) == len(held)
    assert {id(layer) for layer in inside} == {id(layer) for layer in held}


# Verdict


def figures_like(left: Mapping[str, float], gain: float = 0.1) -> dict[str, Figure]:
    def figure(value: float) -> Figure:
        return Figure(value, value - 0.05, value + 0.05, 9, "films", "made up")

    found = {}
    for number, name in enumerate(METHODS):
        found |= {f"{name}_deletion_area": figure(0.5 - 0.01 * number)}
        found |= {f"{name}_insertion_area": figure(0.6)}
        found |= {f"{name}_randomised_rank_correlation": figure(left.get(name, 0.0))}
        found |= {f"{name}_{kind}_gain_over_{other}": figure(gain) for kind in KINDS for other in BASELINES}
    return found


def test_the_best_of_those_that_pass_is_trusted_and_the_others_are_named_with_their_fault() -> None:
    said = verdict(figures_like({"integrated-gradients": 0.9}))

    assert said.startswith("Trust occlusion: ")
    assert "Not shown to be trustworthy: integrated-gradients: it hardly changes" in said


@pytest.mark.parametrize(
    ("left", "gain", "trusted"),
    [(MOST_LEFT - 0.06, 0.06, True), (MOST_LEFT - 0.04, 0.06, False), (0, 0.04, False)],
)
def test_the_whole_interval_must_lie_on_the_right_side(left: float, gain: float, trusted: bool) -> None:
    said = verdict(figures_like(dict.fromkeys(METHODS, left), gain))

    assert said.startswith("Trust ") == trusted
    assert ("No map is shown to be trustworthy" in said) != trusted


# The command


@pytest.fixture(scope="module")
def drawn(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder and the manifest of phantoms, two films of each patient."""
    folder = tmp_path_factory.mktemp("faithfulness")
    torch.manual_seed(0)
    network = build_network(tiny_config).eval()
    nn.init.normal_(network.heads.weight, 0.0, 0.5)
    calibration = model_that_watches("corner").calibration
    save_model(folder / "model", Model(tiny_config, calibration, network, ""))
    return folder / "model", write_phantoms(folder, 24)


def test_the_command_writes_figures_a_table_a_picture_and_a_sentence(
    drawn: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, manifest = drawn
    values = json.loads((model / "config.json").read_text())
    values["calibration"]["threshold"] = 0.0
    (model / "config.json").write_text(json.dumps(values))

    asked = ["--model", str(model), "--data", str(manifest), "--out", str(tmp_path)]
    code = main([*asked, "--films", "3", "--random-films", "2"])

    assert code == 0
    report = json.loads((tmp_path / "faithfulness.json").read_text())
    figures = {name: value for name, value in report.items() if name != "details"}
    assert all(set(figure) == {"value", "low", "high", "n", "set", "method"} for figure in figures.values())
    assert report["faithfulness_gradcam_deletion_area"]["n"] == 3
    assert report["faithfulness_occlusion_randomised_rank_correlation"]["n"] == 2
    assert "3 patients" in report["faithfulness_random_insertion_area"]["method"]
    assert report["details"]["verdict"] in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "faithfulness.csv").read_text().splitlines()))
    assert len(rows) == 3 * (len(METHODS) + len(BASELINES))
    assert (tmp_path / "faithfulness.png").read_bytes().startswith(b"\x89PNG")


def test_the_sample_holds_one_film_per_patient_and_only_what_is_called_positive(
    drawn: tuple[Path, Path],
) -> None:
    _, manifest = drawn
    model = model_that_watches("left lung", gain=50.0)

    sample = draw(model, Request(manifest), 24, seed=3)

    assert isinstance(sample.units, Units)
    assert len(set(sample.units.number_N.tolist())) == len(sample.films)
    with torch.no_grad():
        assert (model.network(torch.stack(list(sample.inputs))) >= 0).all()


def test_a_model_that_calls_nothing_positive_is_told(
    drawn: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, manifest = drawn
    model = model_that_watches()
    with torch.no_grad():
        model.network.heads.bias.fill_(-9)
    save_model(tmp_path / "model", model)

    with pytest.raises(SystemExit) as ended:
        main(["--model", str(tmp_path / "model"), "--data", str(manifest), "--out", str(tmp_path)])

    assert ended.value.code == 2
    assert "calls 0 films positive, expected two" in capsys.readouterr().err
