"""What a run learned from, kept with its state: a run is only ever resumed with the same."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model import checkpoint, data
from model.config import Config, config_sha256
from model.folds import SPLIT
from model.recorder import MODEL, STATE
from model.run import Run
from model.subsets import asked_split


def inputs_of(config: Config, run: Run, subset_of: Mapping[str, str]) -> dict[str, Any]:
    """Return what a run learns from, as hashes that do not depend on where the files lie.

    Parameters
    ----------
    config, run
        The run.
    subset_of
        The subset of each path: what ``split.csv.gz`` holds, whatever compressed it.
    """
    return {
        "config_sha256": config_sha256(config),
        "manifest_sha256": data.manifest_sha256(run.manifest),
        "split_sha256": hashlib.sha256(json.dumps(sorted(subset_of.items())).encode()).hexdigest(),
        "fold": run.fold if run.folds is not None and run.split is None else None,
    }


def inputs_written(config: Config, run: Run) -> dict[str, Any]:
    """Return `inputs_of` a run whose split is written."""
    return inputs_of(config, run, data.read_split(run.out / SPLIT))


def goes_on(run: Run) -> bool:
    """Return whether a run is to be resumed and there is one: a job may ask for it from the first time on."""
    return run.resume and (run.out / STATE).exists()


def check_unused(run: Run) -> None:
    """Refuse to train into a folder that holds a run already, unless that run is to go on.

    Raises
    ------
    ValueError
        If the state or the model of a run is there; the message names what to do.
    """
    if goes_on(run):
        return
    kept = [name for name in (STATE, MODEL) if (run.out / name).exists()]
    if kept:
        remedy = "Go on with it by --resume, or give another --out" if STATE in kept else "Give another --out"
        raise ValueError(
            f"{run.out}: expected a folder without a run, it holds {' and '.join(kept)}, which would be "
            f"written over. {remedy}"
        )


def check_resume(config: Config, run: Run) -> None:
    """Refuse to go on with anything but what the run in `run.out` learned from; nothing is written.

    Without ``--split`` and ``--folds`` a run keeps to the split in its folder. Where the films themselves
    lie may change, and which of their files' bytes did is not looked at.

    Raises
    ------
    FileNotFoundError
        If the manifest, a split or a fold file is missing.
    ValueError
        If configuration, manifest or split differ, or the state does not say what they were; the message
        names both and what to do.
    """
    kept = checkpoint.load_state(run.out / STATE).get("inputs")
    if kept is None:
        raise ValueError(
            f"{run.out / STATE} was written by an earlier version and does not say which films it learned "
            "from: whether these are the same cannot be known. Train anew, without --resume"
        )
    # The films are compared before they are dealt: of others even the folds may make no sense.
    if kept["config_sha256"] != config_sha256(config):
        raise ValueError(
            f"{run.out} was trained with another configuration (network, data or schedule): "
            f"expected SHA-256 {kept['config_sha256']}, came {config_sha256(config)}. "
            "Go on with that one, or give another --out"
        )
    check_manifest(run.out, kept, data.manifest_sha256(run.manifest), run.manifest.name)
    films = data.read_manifest(run.manifest, config.data.labels)
    came = inputs_of(config, run, asked_split(config, run, films))
    if kept["split_sha256"] != came["split_sha256"]:
        raise ValueError(
            f"{run.out} was trained by another split: expected {_in_words(kept)}, came {_in_words(came)} by "
            f"{_asked_by(run)}, or give another --out"
        )


def check_manifest(out: Path, kept: Mapping[str, Any], came_sha256: str, name: str) -> None:
    """Refuse a manifest of another hash than the one that a run learned from.

    Raises
    ------
    ValueError
        Naming both hashes.
    """
    if kept["manifest_sha256"] != came_sha256:
        raise ValueError(
            f"{out} was trained on another manifest (films, labels or patients): expected SHA-256 "
            f"{kept['manifest_sha256']}, came {came_sha256} of {name}. Give that one by --data, wherever it "
            "lies now, or give another --out"
        )


def _in_words(inputs: Mapping[str, Any]) -> str:
    tested = "" if inputs["fold"] is None else f" (fold {inputs['fold']} is tested)"
    return f"SHA-256 {inputs['split_sha256']}{tested}"


def _asked_by(run: Run) -> str:
    keep = "leave --split and --folds out to keep to its own"
    if run.split is not None:
        return f"--split {run.split.name}. Give the split it was trained by, {keep}"
    if run.folds is not None:
        return f"--fold {run.fold} of {run.folds.name}. Give the fold that was tested then, {keep}"
    return f"its {SPLIT}, which was altered. Give the split it was trained by with --split"
