"""Models and runs on disk: weights as safetensors, the rest as JSON, and no pickle that could run code."""

import dataclasses
import hashlib
import io
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from model.config import Config, config_sha256, from_dict, to_dict, values_sha256
from model.network import FilmNetwork, build_network
from model.whole_files import write_whole

FORMAT = 1
WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
RELEASE = Path(__file__).parent / "release"
"""The model that is shipped with the package."""
OPTIONAL = ("slope_rest", "alpha_covid", "alpha_rest")
"""Numbers of a calibration that may be missing."""


class BadModel(ValueError):
    """A model folder that is incomplete, altered, or of another format."""


@dataclass(frozen=True)
class Calibration:
    """From the product of the heads to a probability, a decision and a map of fixed scale."""

    slope: float
    """Factor on the log-odds of the product of the heads (Platt 1999)."""
    intercept: float
    """Added to them after that."""
    threshold: float
    """Calibrated probability from which a film counts as positive where abstaining is not allowed."""
    band_low: float
    """Below this the decision is negative."""
    band_high: float
    """From this on the decision is positive; between the two it is indeterminate."""
    prevalence_training: float
    """Share of COVID-19 among the films that calibrated."""
    prevalence_assumed: float
    """Share of COVID-19 that the probability assumes."""
    cam_scale: float
    """Value of the raw map that becomes 1."""
    films: int
    """How many films calibrated."""
    method: str
    """One line on how and on which films."""
    slope_rest: float | None = None
    """Factor on -log(1 - p) where the map is a beta calibration (Kull 2017); None: `slope`, Platt's map."""
    alpha_covid: float | None = None
    """Share of COVID-19 films that the band lets be called negative; None in models older than this field."""
    alpha_rest: float | None = None
    """Share of the other films that the band lets be called positive."""

    def __post_init__(self) -> None:
        """Refuse numbers by which no decision could be meant.

        Raises
        ------
        ValueError
            Naming the number, what it should be, and what came.
        """
        for name in ("slope", "slope_rest", "cam_scale"):
            self._check(name, "above 0", lambda value: value > 0)
        self._check("intercept", "a finite number", lambda value: True)
        for name in ("threshold", "band_low", "band_high", "alpha_covid", "alpha_rest"):
            self._check(name, "from 0 to 1", lambda value: 0 <= value <= 1)
        for name in ("prevalence_training", "prevalence_assumed"):
            self._check(name, "between 0 and 1", lambda value: 0 < value < 1)
        if self.band_low > self.band_high:
            came = f"{self.band_low} and {self.band_high}"
            raise ValueError(f"calibration: band_low should not be above band_high, came {came}")

    def _check(self, name: str, words: str, holds: Callable[[float], bool]) -> None:
        value = getattr(self, name)
        if value is None and name in OPTIONAL:
            return
        # Values of a file may be anything; of NaN every comparison is false, and every film left open.
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (number and holds(value)):
            raise ValueError(f"calibration: {name} should be {words}, came {value!r}")


@dataclass(frozen=True)
class Model:
    """A model as it is read from its folder."""

    config: Config
    calibration: Calibration
    network: FilmNetwork
    weights_sha256: str
    provenance: dict[str, Any] = field(default_factory=dict)
    config_sha256: str = ""
    """Hash of the configuration as its file holds it; empty for a model that was not read from a folder."""


def save_weights(path: Path, network: FilmNetwork) -> str:
    """Write the network's weights, replacing the file at once, and return their SHA-256."""
    data = save({key: value.contiguous() for key, value in network.state_dict().items()})
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def load_weights(path: Path, network: FilmNetwork, expected_sha256: str | None = None) -> str:
    """Fill `network` from a safetensors file and return the file's SHA-256.

    Raises
    ------
    BadModel
        If the file is missing, is no safetensors file, has another hash, or fits another network.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadModel(f"no weights at {path}") from error
    found = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and found != expected_sha256:
        raise BadModel(f"{path.name}: SHA-256 should be {expected_sha256}, is {found}: the file was altered")
    try:
        network.load_state_dict(load(data), strict=True)
    except SafetensorError as error:
        raise BadModel(f"{path.name}: no safetensors file: {error}") from error
    except RuntimeError as error:
        # PyTorch lists every key; the cause is in the chain for whoever wants them.
        raise BadModel(f"{path.name}: weights of another network than {network.entry.name}") from error
    return found


def save_model(folder: Path, model: Model) -> None:
    """Write a model folder: the weights, and the JSON that rebuilds and describes the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = save_weights(folder / WEIGHTS, model.network)
    values = {
        "format": FORMAT,
        "config": to_dict(model.config),
        "config_sha256": config_sha256(model.config),
        "weights_sha256": digest,
        "calibration": dataclasses.asdict(model.calibration),
        "provenance": model.provenance,
    }
    write_whole(folder / CONFIG, (json.dumps(values, indent=1) + "\n").encode())


def load_model(folder: Path) -> Model:
    """Read a model folder and check it against its own hashes.

    Raises
    ------
    BadModel
        If a file is missing, the format is unknown, a hash differs, a value makes no sense, or the network
        is none that was entered.
    """
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise BadModel(f"{path}: expected format {FORMAT}, came {values['format']}")
        config = from_dict(values["config"])
        calibration = Calibration(**values["calibration"])
        # The hash is that of the file's own values: newer code may know keys that an older file lacks.
        if values["config_sha256"] != values_sha256(values["config"]):
            raise BadModel(f"{path}: the configuration does not match its hash: it was altered")
        expected = str(values["weights_sha256"])
        network = build_network(config)
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise BadModel(f"{folder}: expected a model folder with {CONFIG} and {WEIGHTS}: {error!r}") from error
    except BadModel:
        raise
    except ValueError as error:
        raise BadModel(f"{path}: {error}") from error
    load_weights(folder / WEIGHTS, network, expected)
    provenance = values.get("provenance", {})
    return Model(config, calibration, network.eval(), expected, provenance, values["config_sha256"])


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state of a training run (tensors and plain values only), replacing the file at once."""
    # By way of memory: on a full disk PyTorch's own writer ends in an error without a number.
    whole = io.BytesIO()
    torch.save(state, whole)
    write_whole(path, whole.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; a pickle with anything but tensors and plain values is refused.

    Raises
    ------
    BadModel
        If the file cannot be read that way.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise BadModel(f"{path}: not the state of a training run") from error
    return state
