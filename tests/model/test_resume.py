"""A run that is stopped, killed or starved of disk goes on as if nothing had happened, or says why not."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parts import ROOT
from safetensors.torch import load_file

from model.checkpoint import BadModel, load_weights
from model.config import Config, three_class, to_dict
from model.engines import TrainingBroke
from model.network import build_network
from model.run import Run
from model.train import train

Change = Callable[[Config], Config]


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(out / "model" / "weights.safetensors")
    return found


def figures(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    assert figures(one) == figures(other)
    theirs = weights(other)
    for name, value in weights(one).items():
        torch.testing.assert_close(value, theirs[name], atol=0, rtol=0, msg=name)
    states = [torch.load(out / "state.pt", weights_only=True) for out in (one, other)]
    for name in ("network", "average"):
        for key, value in states[0][name].items():
            assert torch.equal(value, states[1][name][key]), key


def classes(config: Config) -> Config:
    return replace(config, heads=three_class().heads, link="softmax")


def with_workers(config: Config) -> Config:
    return replace(config, schedule=replace(config.schedule, workers=1))


def in_bf16(config: Config) -> Config:
    return replace(config, schedule=replace(config.schedule, precision="bf16", average=0.5, warmup=0.5))


@pytest.fixture(scope="module")
def unbroken(families: Path, tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four epochs that nothing disturbed."""
    out = tmp_path_factory.mktemp("unbroken")
    train(tiny_config, Run(families, out))
    return out


@pytest.mark.parametrize("change", [classes, with_workers, in_bf16])
def test_a_run_that_is_stopped_and_resumed_equals_an_unbroken_one_to_the_bit(
    change: Change, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    config = change(tiny_config)
    train(config, Run(families, tmp_path / "whole"))

    train(config, Run(families, tmp_path / "halves", stop_after=2))
    assert not (tmp_path / "halves" / "model").exists()
    assert len(figures(tmp_path / "halves")) == 2
    train(config, Run(families, tmp_path / "halves", resume=True))

    assert_same_run(tmp_path / "halves", tmp_path / "whole")


def test_a_killed_process_resumes_from_its_last_whole_epoch(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_dict(tiny_config)))
    out = tmp_path / "run"
    command = [sys.executable, "-m", "model.train", "--no-check", "--config", str(tmp_path / "config.json")]
    command += ["--data", str(families), "--out", str(out), "--threads", str(torch.get_num_threads())]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "state.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    # What a killed process leaves of an epoch that was not whole.
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 9, "st')

    train(tiny_config, Run(families, out, resume=True))

    assert_same_run(out, unbroken)


def test_a_full_disk_is_told_and_costs_no_epoch_that_was_whole(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    train(tiny_config, Run(families, tmp_path, stop_after=2))
    kept = (tmp_path / "state.pt").read_bytes()
    # Every write to this device ends as on a full disk.
    (tmp_path / "state.pt.part").symlink_to("/dev/full")

    with pytest.raises(OSError, match=r"epoch 3 could not be kept.*No space left.*--resume"):
        train(tiny_config, Run(families, tmp_path, resume=True))

    assert (tmp_path / "state.pt").read_bytes() == kept
    assert not (tmp_path / "state.pt.part").is_symlink()
    train(tiny_config, Run(families, tmp_path, resume=True))
    assert_same_run(tmp_path, unbroken)


def test_a_loss_that_is_no_number_stops_the_run_in_words(
    families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    wild = replace(tiny_config, schedule=replace(tiny_config.schedule, backbone_rate=1e30, head_rate=1e30))

    with pytest.raises(TrainingBroke, match=r"the loss is (nan|inf).*backbone_rate"):
        train(wild, Run(families, tmp_path))

    assert not (tmp_path / "model").exists()


def test_a_run_of_another_network_is_not_resumed(unbroken: Path, families: Path, tiny_config: Config) -> None:
    other = replace(tiny_config, network=replace(tiny_config.network, width=0.5))

    with pytest.raises(ValueError, match=r"another configuration \(network"):
        train(other, Run(families, unbroken, resume=True))


def test_weights_of_another_network_are_refused(unbroken: Path, tiny_config: Config) -> None:
    other = replace(tiny_config, network=replace(tiny_config.network, width=0.5))

    with pytest.raises(BadModel, match="weights of another network than teaching-cnn"):
        load_weights(unbroken / "best.safetensors", build_network(other))


def test_a_model_trained_elsewhere_is_a_start(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    still = replace(tiny_config, schedule=replace(tiny_config.schedule, backbone_rate=1e-30, epochs=1))
    one_class_less = replace(still, heads=tiny_config.heads[1:])

    longer = replace(one_class_less, schedule=replace(still.schedule, epochs=2))
    train(longer, Run(families, tmp_path, init=unbroken / "model", stop_after=1))
    train(longer, Run(families, tmp_path, resume=True))

    model = json.loads((tmp_path / "model" / "config.json").read_text())
    assert model["provenance"]["start"].startswith("backbone of another model")
    trained, start = weights(tmp_path), weights(unbroken)
    for name, value in trained.items():
        if name.endswith("conv.weight"):
            torch.testing.assert_close(value, start[name], atol=1e-6, rtol=0)
    wider = replace(one_class_less, network=replace(tiny_config.network, width=0.5))
    with pytest.raises(ValueError, match="holds teaching-cnn of its own size"):
        train(wider, Run(families, tmp_path / "wider", init=unbroken / "model"))
