"""What a model must say about its making."""

import hashlib
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model import data
from model.checkpoint import CONFIG, load_model
from model.config import Config
from model.folds import SPLIT
from model.network import FilmNetwork
from model.networks import entry
from model.origins import UNNAMED
from model.run import Run
from model.subsets import Subsets

MAKERS = (
    "answers", "calibrate", "cam", "config", "conformal", "csv_tables", "data", "engines", "film_reading",
    "folds", "loaders", "losses", "manifest", "network", "probability", "probing", "recorder", "sampling",
    "scoring", "subsets", "targets", "train", "transforms",
    "networks/darkcovidnet", "networks/efficientnet", "networks/registry", "networks/residual",
    "networks/teaching", "exclusions",
)  # fmt: skip
CODE = b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in MAKERS)
CODE_SHA256 = hashlib.sha256(CODE).hexdigest()
"""Hash of the modules that decide what a model becomes, as they were loaded."""


def describe(config: Config, run: Run, films: Subsets) -> dict[str, Any]:
    """Return command, hashes of code, data and split, libraries, seed, films and licences."""
    counts = {
        subset: dict(sorted(Counter(f"{film.source or UNNAMED}:{film.label}" for film in members).items()))
        for subset, members in films.items()
    }
    _, left_out = data.leave_out(data.read_manifest(run.manifest, config.data.labels), config.data)
    licences = Counter(film.licence or "unstated" for film in films["train"] + films["validation"])
    return {
        "command": run.command,
        "code_sha256": CODE_SHA256,
        "libraries": {name: version(name) for name in ("torch", "monai", "pytorch-ignite", "numpy")},
        "seed": config.schedule.seed,
        "data_sha256": data.manifest_sha256(run.manifest),
        "split_sha256": hashlib.sha256((run.out / SPLIT).read_bytes()).hexdigest(),
        "films": counts,
        "left_out": dict(left_out),
        "licences_of_training_films": dict(licences.most_common()),
    }


def start_of(config: Config, run: Run) -> str:
    """Return where the weights of the backbone came from before training."""
    if run.init is not None:
        digest = hashlib.sha256((run.init / CONFIG).read_bytes()).hexdigest()
        return f"backbone of another model (SHA-256 of its config.json: {digest})"
    return entry(config.network.name).start if config.network.pretrained else "random"


def load_backbone(network: FilmNetwork, folder: Path) -> None:
    """Start from the backbone of a model that was trained before; the heads stay as they are.

    Raises
    ------
    model.checkpoint.BadModel
        If the folder is no model.
    ValueError
        If it holds another network.
    """
    model = load_model(folder)
    ours, theirs = network.entry.name, model.network.entry.name
    shapes = {key: value.shape for key, value in network.backbone.state_dict().items()}
    if ours != theirs or shapes != {k: v.shape for k, v in model.network.backbone.state_dict().items()}:
        raise ValueError(f"{folder} holds {theirs} of its own size, this configuration asks for {ours}")
    network.backbone.load_state_dict(model.network.backbone.state_dict())
