"""A model folder is complete and unaltered, or it is refused; nothing in it can run code."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from model.checkpoint import BadModel, load_model, load_state, save_state
from model.config import values_sha256
from model.network import FilmNetwork


def test_a_model_comes_back_as_it_was_saved(model_folder: Path, network: FilmNetwork) -> None:
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    model = load_model(model_folder)

    with torch.inference_mode():
        assert torch.equal(model.network(batch), network(batch))
    assert not model.network.training


def test_altered_weights_are_refused(model_folder: Path) -> None:
    path = model_folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(BadModel, match="altered"):
        load_model(model_folder)


def test_an_altered_configuration_is_refused(model_folder: Path) -> None:
    path = model_folder / "config.json"
    values = json.loads(path.read_text())
    values["config"]["transforms"]["film_px"] = 64
    path.write_text(json.dumps(values))

    with pytest.raises(BadModel, match="does not match its hash"):
        load_model(model_folder)


@pytest.mark.parametrize("missing", ["weights.safetensors", "config.json"])
def test_an_incomplete_folder_is_refused(missing: str, model_folder: Path) -> None:
    (model_folder / missing).unlink()

    with pytest.raises(BadModel):
        load_model(model_folder)


def test_another_format_is_refused(model_folder: Path) -> None:
    path = model_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))

    with pytest.raises(BadModel, match="expected format 1, came 2"):
        load_model(model_folder)


def altered(folder: Path, part: str, change: dict[str, object]) -> None:
    """Change a part of a model's values, with a hash that fits, as another program might write them."""
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values[part] |= change
    values["config_sha256"] = values_sha256(values["config"])
    path.write_text(json.dumps(values))


MEANINGLESS = (
    (
        "config",
        {"network": {"name": "never-entered"}},
        r"unknown network 'never-entered', .* by --network-file FILE, or in Python",
    ),
    ("config", {"newer": 1}, r"config.json: config: unknown key \['newer'\]"),
    ("config", {"name": 5}, "config: name should be text, came 5"),
    ("calibration", {"slope": float("nan")}, "slope should be above 0, came nan"),
    ("calibration", {"slope": 0.0}, "slope should be above 0, came 0"),
    ("calibration", {"slope_rest": -1.0}, "slope_rest should be above 0"),
    ("calibration", {"intercept": float("inf")}, "intercept should be a finite number, came inf"),
    ("calibration", {"threshold": "0.5"}, "threshold should be from 0 to 1, came '0.5'"),
    ("calibration", {"band_low": -0.1}, "band_low should be from 0 to 1"),
    (
        "calibration",
        {"band_low": 0.8, "band_high": 0.7},
        "band_low should not be above band_high, came 0.8 and 0.7",
    ),
    ("calibration", {"band_high": None}, "band_high should be from 0 to 1, came None"),
    ("calibration", {"prevalence_assumed": 1}, "prevalence_assumed should be between 0 and 1, came 1"),
    ("calibration", {"cam_scale": 0}, "cam_scale should be above 0, came 0"),
    ("calibration", {"alpha_rest": 2}, "alpha_rest should be from 0 to 1, came 2"),
)
"""Part of a model's file, what is altered in it, and what is then said."""


@pytest.mark.parametrize(("part", "change", "message"), MEANINGLESS)
def test_a_model_that_cannot_be_built_or_cannot_decide_is_refused(
    part: str, change: dict[str, object], message: str, model_folder: Path
) -> None:
    altered(model_folder, part, change)

    with pytest.raises(BadModel, match=message):
        load_model(model_folder)


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this must not run",))


def test_a_pickle_in_place_of_the_weights_is_refused(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model_folder / "config.json"
    data = pickle.dumps(Attack())
    (model_folder / "weights.safetensors").write_bytes(data)
    values = json.loads(path.read_text())
    import hashlib

    path.write_text(json.dumps(values | {"weights_sha256": hashlib.sha256(data).hexdigest()}))

    with pytest.raises(BadModel, match="no safetensors"):
        load_model(model_folder)
    assert "must not run" not in capsys.readouterr().out


def test_the_state_of_a_run_comes_back(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", {"epoch": 3, "weights": torch.ones(2)})

    state = load_state(tmp_path / "state.pt")

    assert state["epoch"] == 3
    assert torch.equal(state["weights"], torch.ones(2))


def test_a_state_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"epoch": Attack()}, tmp_path / "state.pt")

    with pytest.raises(BadModel, match="not the state"):
        load_state(tmp_path / "state.pt")
    assert "must not run" not in capsys.readouterr().out
