"""The heat map is Grad-CAM of log P(COVID-19), from the forward pass alone, on a scale that never moves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM
from PIL import Image
from torch import Tensor, nn

from model.explain import main, overlay, raw_cam, scaled_cam
from model.network import FilmNetwork


class LogProbability(nn.Module):
    """log P(COVID-19) as MONAI's Grad-CAM wants it: one score per film."""

    def __init__(self, network: FilmNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> Tensor:
        return nn.functional.logsigmoid(self.network(batch)).sum(dim=1, keepdim=True)


def test_the_map_equals_monais_grad_cam(network: FilmNetwork) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(3, 3, 64, 64, generator=generator)
    # Weights of both signs, so that parts of the map speak against COVID-19 and are cut off.
    with torch.no_grad():
        network.heads.weight.normal_(0.0, 0.05, generator=generator)
    peer = GradCAM(
        LogProbability(network),
        "network.last_map",
        upsampler=lambda size: nn.Identity(),
        postprocessing=lambda x: x,
    )

    features = network.features(batch)
    ours = raw_cam(network, features, network.classify(features))
    theirs = torch.cat([peer(x=batch[i : i + 1], class_idx=0) for i in range(3)])[:, 0]

    assert theirs.max().item() > 1e-3, "an empty map would prove nothing"
    assert (theirs == 0).any(), "without a cell cut off the cutting would go untested"
    torch.testing.assert_close(ours, theirs, atol=1e-4 * theirs.max().item(), rtol=1e-4)


def test_the_scale_is_fixed_and_cut_off() -> None:
    raw = torch.tensor([[[0.0, 0.1], [0.2, 5.0]]])

    torch.testing.assert_close(scaled_cam(raw, 0.4), torch.tensor([[[0.0, 0.25], [0.5, 1.0]]]))


def test_where_the_map_is_nothing_the_film_shows_unchanged() -> None:
    film = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)

    shown = overlay(film, np.zeros((2, 2), np.float32))

    np.testing.assert_array_equal(shown, np.rint(np.stack([film] * 3, -1) * 255).astype(np.uint8))


def test_where_the_map_is_high_the_film_turns_red() -> None:
    cam = np.zeros((2, 2), np.float32)
    cam[1, 1] = 1

    shown = overlay(np.full((20, 20), 0.5, np.float32), cam).astype(int)

    assert shown[-1, -1, 0] > shown[-1, -1, 1] + 100
    assert shown[0, 0, 0] == shown[0, 0, 1]


def test_the_command_draws_a_picture_of_the_films_size(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = np.random.default_rng(0).integers(0, 255, (80, 50), np.uint8)
    Image.fromarray(film).save(tmp_path / "film.png")

    code = main([str(tmp_path / "film.png"), "--model", str(model_folder), "--out", str(tmp_path / "maps")])

    assert code == 0
    with Image.open(tmp_path / "maps" / "001-film.png") as drawn:
        assert drawn.size == (50, 80)
    assert "research" in capsys.readouterr().out


def test_the_command_names_a_file_that_is_no_film(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.png").write_text(json.dumps("no film"))

    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "film.png"), "--model", str(model_folder), "--out", str(tmp_path)])

    assert ended.value.code == 2
    assert "film.png" in capsys.readouterr().err
