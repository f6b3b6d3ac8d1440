"""What a run tells while it trains: a table, lines of JSON, TensorBoard, MLflow, and two curves."""

import contextlib
import csv
import importlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

METRICS = "metrics.csv"
LINES = "metrics.jsonl"
CURVES = "curves.png"
TENSORBOARD = "tensorboard"

Row = dict[str, float]

log = logging.getLogger(__name__)


class RunLog:
    """The figures of each epoch, wherever they are wanted.

    Parameters
    ----------
    out
        Folder for the table, the lines, the curves and TensorBoard's files.
    mlflow_uri
        Tracking server or database of MLflow; empty does without.

    Raises
    ------
    ValueError
        If MLflow is wanted and not installed, or refuses the address.
    """

    def __init__(self, out: Path, mlflow_uri: str = "") -> None:
        self.out = out
        self.writer = SummaryWriter(str(out / TENSORBOARD))
        self.mlflow: Any = _mlflow(mlflow_uri) if mlflow_uri else None

    def keep_until(self, epoch: int) -> None:
        """Drop what was written of later epochs; with epoch 0 nothing stays."""
        rows = [row for row in read_rows(self.out) if row["epoch"] <= epoch]
        for name in (METRICS, LINES):
            (self.out / name).unlink(missing_ok=True)
        for row in rows:
            self._append(row)

    def write(self, row: Row) -> None:
        """Write the figures of an epoch; ``epoch`` is one of them."""
        self._append(row)
        for name, value in row.items():
            self.writer.add_scalar(name.replace("validation_", "validation/"), value, int(row["epoch"]))
        self.writer.flush()
        if self.mlflow is not None:
            finite = {name: value for name, value in row.items() if math.isfinite(value)}
            with self._mlflow_may_fail():
                self.mlflow.log_metrics(finite, step=int(row["epoch"]))

    def _append(self, row: Row) -> None:
        path = self.out / METRICS
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(row)
            writer.writerow([f"{value:.5g}" if isinstance(value, float) else value for value in row.values()])
        with (self.out / LINES).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Let go of what is open."""
        # A full disk has been told by then, in better words.
        with contextlib.suppress(OSError):
            self.writer.close()
        if self.mlflow is not None:
            with self._mlflow_may_fail():
                self.mlflow.end_run()

    @contextlib.contextmanager
    def _mlflow_may_fail(self) -> Iterator[None]:
        """Let a tracking server that is away cost its figures and not the training."""
        try:
            yield
        except self.mlflow.exceptions.MlflowException as error:
            log.warning("MLflow does not take figures; they stand in %s too: %s", METRICS, error)


def read_rows(out: Path) -> list[Row]:
    """Return the figures of the epochs; a line that a killed process left half written is passed over."""
    path = out / LINES
    rows: list[Row] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def _mlflow(uri: str) -> Any:
    try:
        mlflow: Any = importlib.import_module("mlflow")
    except ModuleNotFoundError as error:
        raise ValueError(
            "MLflow is not installed: pip install mlflow-skinny, or leave --mlflow out"
        ) from error
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.start_run()
    except mlflow.exceptions.MlflowException as error:
        raise ValueError(f"MLflow does not take what --mlflow names: {error}") from error
    return mlflow


def draw_curves(out: Path, best_epoch: int) -> None:
    """Draw loss and AUC of training and validation over the epochs, where they part is overfitting."""
    # Only a run that ends needs the drawing library.
    from matplotlib.figure import Figure

    rows = read_rows(out)
    if not rows:
        return
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name, title in zip(
        figure.subplots(1, 2), ("loss", "mean_auc"), ("Loss", "Mean AUC"), strict=True
    ):
        for part, style in (("train", "o--"), ("validation", "o-")):
            values = [row.get(f"{part}_{name}", math.nan) for row in rows]
            axes.plot(epochs, values, style, label=part, markersize=3)
        axes.set(title=title, xlabel="epoch")
        axes.legend(frameon=False)
    axes.axvline(best_epoch, color="grey", linewidth=0.8, linestyle=":")
    figure.suptitle(f"Training films are augmented and balanced; epoch {best_epoch} was best", fontsize=9)
    figure.savefig(out / CURVES, dpi=110)
