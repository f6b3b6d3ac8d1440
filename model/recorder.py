"""What a training run leaves on disk after each epoch, and how an interrupted one takes it up again."""

import csv
import logging
import math
import time
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from model import checkpoint
from model.config import ScheduleConfig

log = logging.getLogger(__name__)

STATE = "state.pt"
BEST = "best.safetensors"
METRICS = "metrics.csv"


class Recorder:
    """Keeps the best weights, a line of figures per epoch, and the state to resume from."""

    def __init__(self, out: Path, parts: dict[str, Any]) -> None:
        self.out = out
        self.parts = parts
        self.best_figure = -math.inf
        self.best_epoch = 0
        self.started_s = time.monotonic()

    def restore(self, trainer: Engine, schedule: ScheduleConfig, config_hash: str) -> bool:
        """Take up the run where its last whole epoch ended; return whether it had ended altogether."""
        state = checkpoint.load_state(self.out / STATE)
        if state["config_sha256"] != config_hash:
            raise ValueError(f"{self.out} was trained with another configuration: give another --out")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.best_figure, self.best_epoch = state["best_figure"], state["best_epoch"]
        trainer.state.epoch, trainer.state.max_epochs = state["epoch"], schedule.epochs
        trainer.state.iteration = state["epoch"] * schedule.steps
        trainer.state.epoch_length = schedule.steps
        self._rewrite_rows(state["epoch"])
        return bool(state["finished"])

    def _rewrite_rows(self, epoch: int) -> None:
        path = self.out / METRICS
        with path.open(newline="") as file:
            header, *rows = list(csv.reader(file))
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) <= epoch)])

    def record(self, trainer: Engine, validated: dict[str, float], config_hash: str) -> None:
        """Write down an epoch; the state comes last, so that what it names exists."""
        epoch = trainer.state.epoch
        if validated["mean_auc"] > self.best_figure:
            self.best_figure, self.best_epoch = validated["mean_auc"], epoch
            checkpoint.save_weights(self.out / BEST, self.parts["average"])
        row = {
            "epoch": epoch,
            "steps": trainer.state.iteration,
            "train_loss": trainer.state.metrics["train_loss"],
            **{f"validation_{name}": value for name, value in validated.items()},
            "rate": trainer.optimizer.param_groups[0]["lr"],  # type: ignore[attr-defined]
            "seconds": time.monotonic() - self.started_s,
        }
        path = self.out / METRICS
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(row)
            writer.writerow([f"{value:.5g}" if isinstance(value, float) else value for value in row.values()])
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epoch": epoch, "best_figure": self.best_figure, "best_epoch": self.best_epoch}
        state |= {"finished": bool(trainer.should_terminate), "config_sha256": config_hash}
        checkpoint.save_state(self.out / STATE, state)
        log.info("epoch %d: %s", epoch, {k: round(v, 4) for k, v in validated.items()})
