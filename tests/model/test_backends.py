"""OpenVINO and PyTorch say the same of every film, and who computes is never left to chance."""

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from torch import Tensor, nn

from dicom_io.pixels import read_pixels
from model.backends import (
    TOLERANCE,
    BackendUnusable,
    OpenvinoBackend,
    PytorchBackend,
    difference,
    open_backend,
)
from model.checkpoint import BadModel, Calibration, Model, load_model, save_model
from model.config import Config, NetworkConfig
from model.export import main
from model.network import build_network
from model.networks.registry import Wanted, register
from model.one_pass import OnePass, Outputs
from model.phantom import LABELS, draw
from model.predict import Predictor

REAL_FILMS = ("RG1_UNCR.dcm", "RG1_J2KR.dcm", "RG3_UNCR.dcm")
SIDE = 64


@register("half-bessel")
def half_bessel(wanted: Wanted) -> nn.Module:
    """A network with an operation that OpenVINO does not know."""

    class Bessel(nn.Module):
        def forward(self, batch_NCHW: Tensor) -> Tensor:
            return torch.special.bessel_j0(batch_NCHW)

    return nn.Sequential(nn.Conv2d(3, 4, 16, 16), Bessel())


@register("forked-road")
def forked_road(wanted: Wanted) -> nn.Module:
    """A network that computes otherwise for the film on which OpenVINO traced it, which is black."""

    class Fork(nn.Module):
        def forward(self, batch_NCHW: Tensor) -> Tensor:
            return batch_NCHW if batch_NCHW.abs().sum() == 0 else batch_NCHW + 1

    return nn.Sequential(nn.Conv2d(3, 4, 16, 16, bias=False), Fork())


def films() -> Iterator[NDArray[np.float32]]:
    for number in range(21):
        label, side = LABELS[number % 3], (96, 256, 301)[number % 3]
        yield draw(label, number, side_px=side)[: side - number]
    for name in REAL_FILMS:
        yield read_pixels(dcmread(str(get_testdata_file(name, download=False))))


def one_pass_of(config: Config, name: str, seed: int = 1) -> OnePass:
    torch.manual_seed(seed)
    network = build_network(replace(config, network=NetworkConfig(name=name, pretrained=False)))
    nn.init.uniform_(network.heads.weight, -0.01, 0.03)
    return OnePass(network, 0.1)


@pytest.fixture
def one_pass(small_config: Config) -> OnePass:
    """Of the smallest network: a conversion takes seconds."""
    return one_pass_of(small_config, "teaching-cnn")


# The same answer


def test_the_released_model_says_the_same_on_both_backends() -> None:
    by_openvino, by_pytorch = Predictor(backend="openvino"), Predictor(backend="pytorch")
    assert (by_openvino.info.backend, by_pytorch.info.backend[:8]) == ("openvino-cpu", "pytorch-")
    probabilities, tops = [], []
    for image_HW in films():
        one, other = by_openvino(image_HW), by_pytorch(image_HW)

        assert one.probability == pytest.approx(other.probability, abs=TOLERANCE)
        assert one.head_probabilities == pytest.approx(other.head_probabilities, abs=TOLERANCE)
        np.testing.assert_allclose(one.cam_HW, other.cam_HW, rtol=0, atol=TOLERANCE)
        probabilities.append(one.probability)
        tops.append(float(one.cam_HW.max()))
    # They had something to be equal about.
    assert len(probabilities) >= 20
    assert np.ptp(probabilities) > 0.2
    assert max(tops) > 0.2


@pytest.mark.parametrize(("name", "link"), [("darkcovidnet", "softmax"), ("efficientnet-b0", "sigmoid")])
def test_other_networks_and_heads_are_taken_over_as_well(small_config: Config, name: str, link: str) -> None:
    one_pass = one_pass_of(small_config, name)
    one_pass.network.covid_class = 1 if link == "softmax" else None

    backend = open_backend(one_pass, SIDE, "openvino")

    film_NCHW = torch.randn(1, 3, SIDE, SIDE)
    for came, meant in zip(backend(film_NCHW), PytorchBackend(one_pass)(film_NCHW), strict=True):
        assert came.shape == meant.shape
        np.testing.assert_allclose(came, meant, rtol=0, atol=TOLERANCE)


def test_an_answer_is_not_changed_by_the_next_film(one_pass: OnePass) -> None:
    backend = OpenvinoBackend(one_pass, SIDE)
    first = backend(torch.randn(1, 3, SIDE, SIDE))
    kept = [array.copy() for array in first]

    backend(torch.randn(1, 3, SIDE, SIDE))

    for array, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_nothing_is_rounded_and_no_thread_is_bound(one_pass: OnePass) -> None:
    compiled = OpenvinoBackend(one_pass, SIDE, threads=1).compiled

    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_a_network_of_other_weights_is_told_apart(one_pass: OnePass, small_config: Config) -> None:
    other = one_pass_of(small_config, "teaching-cnn", seed=2)

    assert difference(OpenvinoBackend(one_pass, SIDE), one_pass, SIDE) < TOLERANCE / 10
    assert difference(OpenvinoBackend(other, SIDE), one_pass, SIDE) > 10 * TOLERANCE


# Who computes


def test_openvino_computes_unless_told_otherwise(one_pass: OnePass) -> None:
    if torch.cuda.is_available():
        pytest.skip("on a machine with a graphics card PyTorch computes")
    assert open_backend(one_pass, SIDE).name == "openvino-cpu"
    assert open_backend(one_pass, SIDE, "pytorch").name == "pytorch-cpu"


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("name", "words"),
    [("half-bessel", "special_bessel_j0"), ("forked-road", "expected OpenVINO to compute what")],
)
def test_a_network_that_openvino_cannot_compute_is_left_to_pytorch(
    small_config: Config, name: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    one_pass = one_pass_of(small_config, name)
    with caplog.at_level(logging.WARNING):
        assert open_backend(one_pass, SIDE).name.startswith("pytorch-")
    assert words in caplog.text
    assert "PyTorch computes instead" in caplog.text

    with pytest.raises(BackendUnusable, match=words) as refused:
        open_backend(one_pass, SIDE, "openvino")
    assert '"auto" or "pytorch"' in str(refused.value)


def test_where_openvino_is_missing_pytorch_computes(
    one_pass: OnePass, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)

    assert open_backend(one_pass, SIDE).name.startswith("pytorch-")
    assert "openvino" in caplog.text
    with pytest.raises(BadModel, match="openvino"):
        open_backend(one_pass, SIDE, "openvino")


FREED_IN_A_THREAD = """
import faulthandler, gc, signal, threading
from pathlib import Path
import sys
from model.predict import Predictor
faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda *_: None)
served = [Predictor(Path(sys.argv[1]), backend="openvino")]
def give_up():
    served.clear()
    gc.collect()
thread = threading.Thread(target=give_up)
thread.start()
thread.join()
signal.raise_signal(signal.SIGUSR1)
print("alive")
"""
"""The last model goes in another thread than the first came in; then comes a signal, as when a child ends."""


def test_a_signal_after_the_last_model_went_does_not_end_the_process(served_folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FREED_IN_A_THREAD, str(served_folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr


# For other programs


def test_the_exported_network_is_whole_and_says_what_it_is(served_folder: Path, tmp_path: Path) -> None:
    assert main(["--model", str(served_folder), "--out", str(tmp_path / "out")]) == 0

    said = json.loads((tmp_path / "out" / "export.json").read_text())
    assert set(said["sha256"]) == {"network.xml", "network.bin"}
    for name, digest in said["sha256"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    model = load_model(served_folder)
    assert said["weights_sha256"] == model.weights_sha256
    assert said["head_names"] == ["opacity", "covid_given_abnormal"]
    assert said["calibration"]["cam_scale"] == model.calibration.cam_scale
    graph = openvino.Core().read_model(tmp_path / "out" / "network.xml")
    assert [output.any_name for output in graph.outputs] == list(said["outputs"]) == list(Outputs._fields)
    film_NCHW = torch.randn(1, 3, SIDE, SIDE)
    came = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        {"film_NCHW": film_NCHW.numpy()}
    )
    meant = PytorchBackend(OnePass(model.network, model.calibration.cam_scale))(film_NCHW)
    for name in Outputs._fields:
        np.testing.assert_allclose(came[name], getattr(meant, name), rtol=0, atol=TOLERANCE)


def test_what_cannot_be_exported_is_said(
    small_config: Config, calibration: Calibration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(small_config, network=NetworkConfig(name="half-bessel", pretrained=False))
    save_model(tmp_path / "model", Model(config, calibration, build_network(config), ""))

    for folder, words in ((tmp_path / "nowhere", "config.json"), (tmp_path / "model", "half-bessel")):
        with pytest.raises(SystemExit) as stop:
            main(["--model", str(folder)])
        assert stop.value.code == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "model" / "openvino").exists()
