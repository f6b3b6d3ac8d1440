"""What a training run is given besides its configuration."""

from dataclasses import dataclass
from pathlib import Path


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
    folds: Path | None = None
    """A fold file, of which `fold` is tested; None draws a split."""
    fold: int = 0
    """The fold that is tested, and chooses nothing."""
    stop_after: int | None = None
    """Stop after this epoch as if interrupted: no model is written; None goes on to the end."""
    init: Path | None = None
    """A model folder whose backbone is the start; None starts from ImageNet or at random."""
    mlflow: str = ""
    """Tracking server or database of MLflow; empty does without."""
