"""Which epoch of a run is kept, also where the run was taken up again in between."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from safetensors.torch import load_file

from model.config import Config
from model.network import FilmNetwork, build_network
from model.recorder import BEST, Recorder
from model.runlog import RunLog, read_rows

Epoch = tuple[float, float]
Run = Callable[[list[Epoch], bool], int]


@pytest.fixture
def run(tiny_config: Config, tmp_path: Path) -> Run:
    """Return what records epochs of these AUCs and losses; in each the first bias is the epoch's number."""
    network: FilmNetwork = build_network(tiny_config)
    trainer = Engine(lambda engine, batch: None)
    trainer.optimizer = torch.optim.SGD(network.parameters(), 0.1)  # type: ignore[attr-defined]

    def record(epochs: list[Epoch], resumed: bool) -> int:
        runlog = RunLog(tmp_path, "")
        recorder = Recorder(tmp_path, {"average": network}, runlog, "random", {})
        if resumed:
            recorder.restore(trainer, tiny_config.schedule)
        for auc, loss in epochs:
            trainer.state.epoch += 1
            with torch.no_grad():
                network.heads.bias[0] = trainer.state.epoch
            recorder.record(trainer, {"mean_auc": auc, "loss": loss})
        runlog.close()
        return int(recorder.told()["epoch"])

    return record


class MlflowException(Exception):
    pass


class AwayServer:
    """Stands for MLflow, which is not among our libraries, while its tracking server is away."""

    exceptions = SimpleNamespace(MlflowException=MlflowException)

    def log_metrics(self, figures: dict[str, float], step: int) -> None:
        raise MlflowException("no connection")

    def end_run(self) -> None:
        raise MlflowException("no connection")


def test_a_tracking_server_that_is_away_costs_no_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runlog = RunLog(tmp_path)
    runlog.mlflow = AwayServer()

    runlog.write({"epoch": 1, "loss": 0.5})
    runlog.close()

    assert read_rows(tmp_path) == [{"epoch": 1, "loss": 0.5}]
    assert caplog.text.count("MLflow does not take figures; they stand in metrics.csv too") == 2


def kept(out: Path) -> int:
    return int(load_file(out / BEST)["heads.bias"][0])


def test_the_epoch_of_the_highest_figure_is_kept_whatever_its_loss(run: Run, tmp_path: Path) -> None:
    assert run([(0.8, 0.3), (0.9, 0.5), (0.85, 0.1)], False) == 2
    assert kept(tmp_path) == 2


def test_of_epochs_of_one_figure_that_of_the_lowest_loss_is_kept(run: Run, tmp_path: Path) -> None:
    assert run([(1.0, 0.3), (1.0, 0.2), (1.0, 0.25), (1.0, 0.2)], False) == 2
    assert kept(tmp_path) == 2


def test_a_resumed_run_knows_figure_and_loss_of_the_best_epoch_so_far(run: Run, tmp_path: Path) -> None:
    assert run([(0.9, 0.5), (1.0, 0.2)], False) == 2

    assert run([(1.0, 0.25)], True) == 2
    assert run([(1.0, 0.1)], True) == 4
    assert kept(tmp_path) == 4
