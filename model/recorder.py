"""What a training run leaves on disk after each epoch, and how an interrupted one takes it up again."""

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine

from model import checkpoint
from model.config import ScheduleConfig
from model.engines import KEY
from model.runlog import RunLog

log = logging.getLogger(__name__)

STATE = "state.pt"
BEST = "best.safetensors"
MODEL = "model"
"""Folder of the model within that of the run."""


def rank(validated: Mapping[str, float]) -> tuple[float, float]:
    """Return what an epoch is chosen by: its validation figure and, where that is equal, the lower loss.

    On few films an AUC of 1 is soon reached; the loss still tells which epoch parts the classes further.
    """
    return validated[KEY], -validated["loss"]


class Recorder:
    """Keeps the best weights, the figures of each epoch, and the state to resume from.

    Parameters
    ----------
    out
        Folder of the run.
    parts
        What has a state, by name.
    runlog
        Where the figures go; None in a process that only helps.
    start
        Where the weights came from, in words; a resumed run keeps what it had.
    inputs
        What the run learns from (`model.resuming.inputs_of`), so that it is only resumed with the same; a
        resumed run keeps what it had.
    """

    def __init__(
        self, out: Path, parts: dict[str, Any], runlog: RunLog | None, start: str, inputs: Mapping[str, Any]
    ) -> None:
        self.out = out
        self.parts = parts
        self.runlog = runlog
        self.start = start
        self.inputs = dict(inputs)
        self.best = (-math.inf, -math.inf)
        self.best_epoch = 0
        self.started_s = time.monotonic()

    def restore(self, trainer: Engine, schedule: ScheduleConfig) -> bool:
        """Take up the run where its last whole epoch ended; return whether it had ended altogether.

        That it was the same run is `model.resuming.check_resume`'s to say, before anything is written.
        """
        state = checkpoint.load_state(self.out / STATE)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.best, self.best_epoch = tuple(state["best"]), state["best_epoch"]
        self.start, self.inputs = state["start"], state["inputs"]
        trainer.state.epoch, trainer.state.max_epochs = state["epoch"], schedule.epochs
        trainer.state.iteration = state["epoch"] * schedule.steps
        trainer.state.epoch_length = schedule.steps
        if self.runlog is not None:
            self.runlog.keep_until(state["epoch"])
        return bool(state["finished"])

    def record(self, trainer: Engine, validated: dict[str, float]) -> None:
        """Write down an epoch; the state comes last, so that what it names exists.

        Raises
        ------
        OSError
            If the disk is full; what was kept of the epochs before is whole.
        """
        epoch = trainer.state.epoch
        better = rank(validated) > self.best
        if better:
            self.best, self.best_epoch = rank(validated), epoch
        if self.runlog is None:
            return
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epoch": epoch, "best": self.best, "best_epoch": self.best_epoch}
        state |= {"finished": bool(trainer.should_terminate), "start": self.start, "inputs": self.inputs}
        try:
            if better:
                checkpoint.save_weights(self.out / BEST, self.parts["average"])
            self.runlog.write(self._row(trainer, validated))
            checkpoint.save_state(self.out / STATE, state)
        except OSError as error:
            raise OSError(
                f"epoch {epoch} could not be kept in {self.out} ({error.strerror or error}); "
                "the epochs before are whole. Make room, then go on with --resume"
            ) from error
        log.info("epoch %d: %s", epoch, {k: round(v, 4) for k, v in validated.items()})

    def told(self) -> dict[str, Any]:
        """Return what the model must say of the run: the epoch that was chosen, and the start."""
        return {"epoch": self.best_epoch, "start": self.start}

    def _row(self, trainer: Engine, validated: dict[str, float]) -> dict[str, float]:
        return {
            "epoch": trainer.state.epoch,
            "steps": trainer.state.iteration,
            **{name: float(value) for name, value in trainer.state.metrics.items()},
            **{f"validation_{name}": value for name, value in validated.items()},
            "rate": trainer.optimizer.param_groups[0]["lr"],  # type: ignore[attr-defined]
            "processes": idist.get_world_size(),
            "seconds": time.monotonic() - self.started_s,
        }
