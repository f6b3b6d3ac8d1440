"""``python -m model.train``: options, data, model, schedule, loop, checkpoint, in this order."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.handlers.tensorboard_handlers import TensorBoardStatsHandler
from monai.handlers.validation_handler import ValidationHandler

from model import calibrate, checkpoint
from model.class_checks import calibrating
from model.config import Config
from model.engines import TrainingBroke, make_engines
from model.folds import SPLIT
from model.loaders import make_loaders
from model.losses import masked_loss
from model.network import FilmNetwork, build_network, load_imagenet
from model.probing import probe_heads
from model.provenance import CODE_SHA256, describe, load_backbone, start_of
from model.recorder import BEST, MODEL, Recorder
from model.resuming import check_resume, check_unused, goes_on, inputs_written
from model.run import Run
from model.runlog import RunLog, draw_curves
from model.sampling import BalancedSampler, epoch_seed
from model.subsets import Subsets, choose_films

__all__ = [
    "CODE_SHA256",
    "BalancedSampler",
    "Run",
    "TrainingBroke",
    "epoch_seed",
    "main",
    "masked_loss",
    "train",
]

START = "start.safetensors"
"""The weights that training starts from, in the run's folder."""

log = logging.getLogger(__name__)


def train(config: Config, run: Run) -> Path | None:
    """Train, choose the best epoch on the validation films, calibrate, and write the model.

    Parameters
    ----------
    config
        What to train.
    run
        On which films, and where to write. `run.out` then holds ``model/`` (see `model.checkpoint`),
        ``metrics.csv`` and ``.jsonl``, ``curves.png``, ``tensorboard/``, ``split.csv.gz`` and ``state.pt``.

    Returns
    -------
    pathlib.Path, None
        The folder of the model; None where `run.stop_after` ended the run before there was one, and in a
        process that only helps another one.

    Raises
    ------
    FileNotFoundError, ValueError
        If the manifest, the split or a run to resume is missing or makes no sense, if that run learned from
        something else or is not to be resumed (nothing is changed then), or if the loss breaks.
    OSError
        If the disk is full.
    """
    check_unused(run)
    run.out.mkdir(parents=True, exist_ok=True)
    if run.resume and not goes_on(run):
        log.warning("nothing to resume in %s: starting anew", run.out)
        run = replace(run, resume=False)
    if run.resume:
        check_resume(config, run)
    films = choose_films(config, run)
    # Now, of the manifest as it was read: hours later another may stand in its place.
    provenance = describe(config, run, films) if idist.get_rank() == 0 else {}
    network, told = fit(config, run, films)
    if network is None:
        return None
    used = films[calibrating(config)]
    calibration = calibrate.calibrate(network, config, run.manifest.parent, used)
    folder = run.out / MODEL
    checkpoint.save_model(folder, checkpoint.Model(config, calibration, network, "", provenance | told))
    shutil.copyfile(run.out / SPLIT, folder / SPLIT)
    return folder


def fit(config: Config, run: Run, films: Subsets) -> tuple[FilmNetwork | None, dict[str, Any]]:
    """Train until the schedule or the patience ends; return the best network, its epoch and its start.

    There is no network where the run was stopped on the way, nor in a process that only helps.
    """
    network = start_network(config, run)
    start_heads(network, config, run, films)
    training, sampler, validation = make_loaders(config, run.manifest.parent, films)
    trainer, evaluator, parts = make_engines(config, (training, validation), network)
    leads = idist.get_rank() == 0
    runlog = RunLog(run.out, run.mlflow) if leads else None
    # The split is written by the process that leads, and so is the state.
    inputs = inputs_written(config, run) if leads else {}
    recorder = Recorder(run.out, parts, runlog, start_of(config, run), inputs)
    ended = run.resume and recorder.restore(trainer, config.schedule)
    if runlog is not None and not run.resume:
        runlog.keep_until(0)
    seed_epochs(trainer, config, sampler, training.dataset.transform)  # type: ignore[attr-defined]
    ValidationHandler(1, evaluator).attach(trainer)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: recorder.record(trainer, dict(evaluator.state.metrics))
    )
    if run.stop_after is not None:
        trainer.add_event_handler(Events.EPOCH_COMPLETED(once=run.stop_after), trainer.terminate)
    if runlog is not None:
        steps = TensorBoardStatsHandler(runlog.writer, epoch_log=False, output_transform=loss_of)
        steps.attach(trainer)
        # On a terminal alone; elsewhere each epoch leaves a line.
        bar = ProgressBar(persist=False, disable=None)
        bar.attach(trainer, output_transform=lambda output: {"loss": loss_of(output)})
    try:
        if not ended and trainer.state.epoch < config.schedule.epochs:
            trainer.run()
    finally:
        if runlog is not None:
            runlog.close()
    if leads:
        draw_curves(run.out, recorder.best_epoch)
    stopped = run.stop_after is not None and trainer.state.epoch == run.stop_after < config.schedule.epochs
    if stopped or not leads:
        return None, recorder.told()
    best = kept_network(config, run)
    return best.to(next(network.parameters()).device), recorder.told()


def loss_of(output: dict[str, Any]) -> float:
    """Return the loss of an iteration, as MONAI's trainer stores it."""
    return float(output["loss"].detach())


def start_network(config: Config, run: Run) -> FilmNetwork:
    """Return the network as training finds it: its weights depend on the seed and the start alone."""
    torch.manual_seed(config.schedule.seed)
    network = build_network(config)
    if run.init is not None:
        load_backbone(network, run.init)
    elif config.network.pretrained:
        load_imagenet(network)
    return network.to(idist.device())


def start_heads(network: FilmNetwork, config: Config, run: Run, films: Subsets) -> None:
    """Let the heads start as a probe where the schedule asks for it, and keep that start in the run's folder.

    A resumed run takes up the start that was kept.
    """
    if run.resume:
        return
    if config.schedule.probe > 0:
        probe_heads(network, config, run.manifest.parent, films["train"])
    if idist.get_rank() == 0:
        checkpoint.save_weights(run.out / START, network)


def kept_network(config: Config, run: Run) -> FilmNetwork:
    """Return the network of the best epoch, blended with its start and moved to the heads' prevalences.

    Averaging the weights of start and end keeps what the start knew of other places (Wortsman 2022,
    arXiv:2109.01903). A head's log-odds move by those of its prevalence: training draws half of each answer.
    """
    best = build_network(config)
    checkpoint.load_weights(run.out / BEST, best)
    if config.schedule.blend < 1:
        start = build_network(config)
        checkpoint.load_weights(run.out / START, start)
        with torch.no_grad():
            for ours, first in zip(best.state_dict().values(), start.state_dict().values(), strict=True):
                if ours.dtype.is_floating_point:
                    ours.copy_(torch.lerp(first, ours, config.schedule.blend))
    shares = torch.tensor([head.prevalence for head in config.heads], dtype=torch.float64)
    with torch.no_grad():
        best.heads.bias.add_(torch.logit(shares).to(best.heads.bias))
    return best


def seed_epochs(trainer: Engine, config: Config, sampler: BalancedSampler, transform: Any) -> None:
    """Let everything random in an epoch depend on its number, so that a resumed run draws the same."""

    @trainer.on(Events.EPOCH_STARTED)
    def _seed(engine: Engine) -> None:
        # Processes draw the same films together, but change them each in its own way.
        seed = epoch_seed(config.schedule.seed, engine.state.epoch) + 7919 * idist.get_rank()
        torch.manual_seed(seed)
        transform.set_random_state(seed)
        sampler.epoch = engine.state.epoch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    # The options offer more than training: a check, a dry run, a contact sheet, which come back here.
    from model.train_command import main as command

    return command(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
