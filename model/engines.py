"""MONAI's trainer and evaluator for a film network: optimiser, schedule, running average, early stopping."""

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping, EMAHandler
from ignite.metrics import Average, EpochMetric
from monai.data.dataloader import DataLoader
from monai.engines.evaluator import SupervisedEvaluator
from monai.engines.trainer import SupervisedTrainer
from monai.inferers.inferer import SimpleInferer
from monai.metrics.rocauc import compute_roc_auc
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from model.answers import head_scores
from model.config import Config, ScheduleConfig
from model.losses import make_loss
from model.network import FilmNetwork

log = logging.getLogger(__name__)

KEY = "mean_auc"
"""The figure that chooses the epoch."""


class TrainingBroke(ValueError):
    """The loss is no number any more; nothing after it would mean anything."""


class Inferer(SimpleInferer):
    """Forward pass in the precision that the schedule asks for; what comes out is float32."""

    def __init__(self, precision: str, device: torch.device) -> None:
        super().__init__()
        self.bf16 = precision == "bf16" or (precision == "auto" and computes_bf16(device))
        self.device = device

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return ``logits_NK``."""
        half = torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()
        with half:
            return network(inputs).float()


def computes_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies in bfloat16 itself; emulated it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


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


def head_auc(head: int, config: Config) -> Callable[[Tensor, Tensor], float]:
    """Return the function (logits_NK, targets_NK) to ROC AUC of one head; 0.5 where one answer is missing."""

    def auc(logits_NK: Tensor, targets_NK: Tensor) -> float:
        # Ignite squeezes the answers of a single head.
        logits_NK, targets_NK = (values.reshape(len(values), -1) for values in (logits_NK, targets_NK))
        scores_N = torch.from_numpy(head_scores(logits_NK.cpu().numpy(), config)[:, head])
        targets_N = targets_NK[:, head].cpu()
        asked_N = ~torch.isnan(targets_N)
        if not 0 < targets_N[asked_N].sum() < asked_N.sum():
            return 0.5
        return float(np.asarray(compute_roc_auc(scores_N[asked_N], targets_N[asked_N])))

    return auc


def figures(config: Config) -> dict[str, EpochMetric]:
    """Return the metrics of an epoch: mean AUC of the heads first, each head's AUC, the loss."""
    areas = {name: head_auc(k, config) for k, name in enumerate(config.head_names)}
    loss = make_loss(config)

    def mean(logits_NK: Tensor, targets_NK: Tensor) -> float:
        return float(np.mean([area(logits_NK, targets_NK) for area in areas.values()]))

    def mean_loss(logits_NK: Tensor, targets_NK: Tensor) -> float:
        shape = (len(logits_NK), len(areas))
        return float(loss(logits_NK.reshape(shape), targets_NK.reshape(shape)))

    functions = {KEY: mean, **{f"auc_{name}": area for name, area in areas.items()}, "loss": mean_loss}
    return {name: EpochMetric(function, answers) for name, function in functions.items()}


def prepare_batch(batch: dict[str, Tensor], device: Any, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """Take image and targets from a sample as MONAI's engines ask."""
    return batch["image"].to(device), batch["targets"].to(device)


def answers(output: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return (logits_NK, targets_NK) of an iteration, as MONAI's engines store it."""
    return output["pred"].float(), output["label"]


def make_engines(
    config: Config, loaders: tuple[DataLoader, DataLoader], network: FilmNetwork
) -> tuple[SupervisedTrainer, SupervisedEvaluator, dict[str, Any]]:
    """Return MONAI's trainer and evaluator, and the parts whose state a resumed run needs.

    Of several processes (torchrun) each trains on its part of a batch; gradients are averaged.
    """
    schedule = config.schedule
    device = next(network.parameters()).device
    optimizer, rate = make_optimizer(network, schedule)
    trained: torch.nn.Module = network
    if idist.get_world_size() > 1:
        trained = DistributedDataParallel(network)
    trainer = SupervisedTrainer(
        device, schedule.epochs, loaders[0], trained, optimizer, make_loss(config),
        epoch_length=schedule.steps, prepare_batch=prepare_batch, decollate=False,
        inferer=Inferer(schedule.precision, device),
        # MONAI attaches no metric at all unless one is the key.
        key_train_metric={"train_loss": Average(lambda output: output["loss"])},
        additional_metrics={f"train_{KEY}": figures(config)[KEY]},
    )  # fmt: skip
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop_if_broken)
    average = EMAHandler(network, momentum=1 - schedule.average, handle_buffers="update")
    average.attach(trainer, event=Events.ITERATION_COMPLETED)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: rate.step())
    key, *rest = figures(config).items()
    evaluator = SupervisedEvaluator(
        device, loaders[1], average.ema_model, prepare_batch=prepare_batch, decollate=False,
        key_val_metric=dict([key]), additional_metrics=dict(rest),
    )  # fmt: skip
    evaluator.add_event_handler(Events.STARTED, lambda: share_buffers(average.ema_model))
    stopping = EarlyStopping(schedule.patience, lambda engine: engine.state.metrics[KEY], trainer)
    evaluator.add_event_handler(Events.COMPLETED, stopping)
    parts = {"network": network, "average": average.ema_model, "optimizer": optimizer, "rate": rate}
    return trainer, evaluator, {**parts, "stopping": stopping}


def stop_if_broken(trainer: Engine) -> None:
    """Raise `TrainingBroke` as soon as the loss is no finite number."""
    output: Any = trainer.state.output
    loss = float(output["loss"].detach())
    if not math.isfinite(loss):
        raise TrainingBroke(
            f"the loss is {loss} in epoch {trainer.state.epoch}, step {trainer.state.iteration}: nothing of "
            "this epoch was kept. Lower schedule.backbone_rate and schedule.head_rate, and look at the films"
        )


def share_buffers(network: torch.nn.Module) -> None:
    """Give every process the running statistics of the first: each has averaged those of its own films."""
    if idist.get_world_size() > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, src=0)
