"""Phantom films and small models for the tests of `model`; nothing here needs a real film."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from model.checkpoint import Calibration, Model, load_model, save_model
from model.config import Config, DataConfig, HeadConfig, NetworkConfig, ScheduleConfig, TransformConfig
from model.network import FilmNetwork, build_network
from model.predict import Predictor

HEADS = (
    HeadConfig(name="opacity", positive=("pneumonia",), negative=("normal",), sources=("nih",)),
    HeadConfig(name="covid_given_abnormal", positive=("covid",), negative=("pneumonia",), sources=("cohen",)),
)


def draw_phantom(seed: int, opaque: bool, side_px: int = 64) -> NDArray[np.float32]:
    """Two dark lungs in a bright chest; an opaque film has bright patches in them."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:side_px, 0:side_px] / side_px
    image_HW = 0.6 + 0.05 * generator.standard_normal((side_px, side_px))
    for centre in (0.3, 0.7):
        image_HW[((x - centre) / 0.15) ** 2 + ((y - 0.5) / 0.35) ** 2 < 1] -= 0.45
    if opaque:
        for centre in (0.3, 0.7):
            image_HW[((x - centre) / 0.12) ** 2 + ((y - 0.65) / 0.15) ** 2 < 1] += 0.4
    return image_HW.clip(0, 1).astype(np.float32)


def write_manifest(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a manifest and, for each row, a phantom: covid and pneumonia are opaque."""
    names = ["path", "label", "patient_id", "source", "view", "age_group", "group", "licence"]
    for number, row in enumerate(rows):
        film = draw_phantom(number, row["label"] in ("covid", "pneumonia"))
        Image.fromarray((film * 255).astype(np.uint8)).save(folder / row["path"])
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def phantom() -> Callable[..., NDArray[np.float32]]:
    return draw_phantom


@pytest.fixture
def manifest_of(tmp_path: Path) -> Callable[[Sequence[dict[str, str]]], Path]:
    return lambda rows: write_manifest(tmp_path, rows)


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 84 phantoms in three families, one of them to hold out."""
    kinds = [("nih", "pneumonia"), ("nih", "normal"), ("cohen", "covid"), ("cohen", "pneumonia")]
    kinds += [("elsewhere", "covid"), ("elsewhere", "normal")]
    rows = [
        {
            "path": f"{source}-{label}-{n}.png",
            "label": label,
            "source": source,
            "patient_id": f"{source}{label}{n}",
        }
        for source, label in kinds
        for n in range(14)
    ]
    return write_manifest(tmp_path_factory.mktemp("families"), rows)


@pytest.fixture(scope="session")
def small_config() -> Config:
    """Two heads on a network that learns two epochs in seconds."""
    return Config(
        heads=HEADS,
        data=DataConfig(
            held_out_sources=("elsewhere",),
            calibration_sources=("elsewhere",),
            validation_fraction=0.3,
            test_fraction=0.1,
        ),
        network=NetworkConfig(width=0.25, depth=0.3, pretrained=False),
        transforms=TransformConfig(film_px=32, input_px=64),
        schedule=ScheduleConfig(epochs=2, steps=2, batch=8, workers=0),
    )


def draw_network(config: Config) -> FilmNetwork:
    """Return a network with weights drawn from a fixed seed, heads included."""
    side = config.transforms.input_px
    torch.manual_seed(1)
    network = build_network(config)
    torch.nn.init.uniform_(network.heads.weight, -0.01, 0.03)
    # Fresh batch norms would let every signal fade; a few batches give them means and deviations.
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        for _ in range(4):
            network.train()(torch.randn(16, 3, side, side))
    return network.eval()


CALIBRATION = Calibration(
    slope=0.8, intercept=0.3, threshold=0.5, band_low=0.4, band_high=0.6, prevalence_training=0.45,
    prevalence_assumed=0.45, cam_scale=0.5, films=10, method="made up for a test",
)  # fmt: skip


@pytest.fixture
def network(small_config: Config) -> FilmNetwork:
    return draw_network(small_config)


@pytest.fixture
def calibration() -> Calibration:
    return CALIBRATION


@pytest.fixture(scope="session")
def served_folder(small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, on disk; no test may alter it."""
    folder = tmp_path_factory.mktemp("served") / "model"
    save_model(folder, Model(small_config, CALIBRATION, draw_network(small_config), ""))
    return folder


@pytest.fixture(scope="session")
def predictor(served_folder: Path) -> Predictor:
    """That model, opened once: a fresh one is converted for seconds."""
    return Predictor(served_folder)


@pytest.fixture
def model_folder(
    tmp_path: Path, small_config: Config, network: FilmNetwork, calibration: Calibration
) -> Path:
    """A model with random weights, on disk."""
    save_model(tmp_path / "model", Model(small_config, calibration, network, ""))
    return tmp_path / "model"


@pytest.fixture(scope="session")
def known_folder(small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of random weights that knows which sources trained and calibrated it."""
    torch.manual_seed(1)
    network = build_network(small_config).eval()
    torch.nn.init.uniform_(network.heads.weight, -0.01, 0.03)
    calibration = Calibration(
        slope=0.8, intercept=1.3, threshold=0.5, band_low=0.4, band_high=0.6, prevalence_training=0.45,
        prevalence_assumed=0.45, cam_scale=0.5, films=10, method="made up for a test", alpha_covid=0.1,
        alpha_rest=0.25,
    )  # fmt: skip
    films = {"train": {"nih:normal": 9}, "validation": {"nih:pneumonia": 1}}
    folder = tmp_path_factory.mktemp("known") / "model"
    save_model(folder, Model(small_config, calibration, network, "", {"films": films}))
    return folder


@pytest.fixture(scope="session")
def known_model(known_folder: Path) -> Model:
    return load_model(known_folder)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Two questions on a network that learns an epoch in a moment, with all that can be random."""
    return Config(
        heads=HEADS,
        data=DataConfig(validation_fraction=0.3, test_fraction=0.1),
        network=NetworkConfig(name="teaching-cnn", width=0.25, pretrained=False),
        transforms=TransformConfig(film_px=32, input_px=32),
        schedule=ScheduleConfig(epochs=4, steps=2, batch=8, workers=0, balance=("source", "view")),
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other cost more than they save on networks as small as these."""
    torch.set_num_threads(1)
