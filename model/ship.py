"""``python -m model.ship``: put a model, its gate and all that must be said of it into a release."""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.audit_file import read_audit
from model.bootstrap import Figure
from model.checkpoint import CONFIG, WEIGHTS, Model, load_model
from model.command_edge import one_line_errors
from model.folds import SPLIT, read_split
from model.gate import GATE, GATE_WEIGHTS, load_gate
from model.release_figures import (
    EVALUATE,
    MAKE_GATE,
    REPRODUCE,
    REQUIRED,
    Figures,
    join,
    read_figures,
)  # fmt: skip
from model.sheets import render
from model.studies import recipe_of_today
from model.whole_files import write_whole

LARGEST = 30_000_000
"""Bytes of all files of a release together."""
METRICS = "metrics.json"


@dataclass(frozen=True)
class Parts:
    """Where the parts of a release lie."""

    model: Path
    """Model folder, as training leaves it."""
    evaluation: Path
    """``metrics.json`` of `model.evaluate`."""
    gate: Path
    """Folder of the gate, as `model.gate` leaves it."""
    audit: Path
    """``audit.json`` of `model.audit`."""
    figures: Path | None = None
    """``figures.json`` of `model.reproduce`; None has none."""
    design: Path | None = None
    """A text on how the design was chosen before the run; None has none, and the card says so."""


class Incomplete(ValueError):
    """A release without all of its figures."""


def gather(parts: Parts, incomplete: bool = False) -> tuple[dict[str, bytes], Figures]:
    """Return the files of a release by name, and what its ``metrics.json`` holds; nothing is written.

    Parameters
    ----------
    parts
        Where everything lies.
    incomplete
        Whether required figures may be missing; the card then names them.

    Raises
    ------
    Incomplete
        If required figures are missing; the message names each with the command that makes it.
    model.checkpoint.BadModel
        If the model or its gate is incomplete or altered.
    FileNotFoundError, ValueError
        If a part is missing, is something else, or speaks of other weights.
    """
    model = load_model(parts.model)
    gate = read_gate(parts.gate, model)
    evaluation = read_evaluation(parts.evaluation, model)
    audit = read_audit(parts.audit, model.weights_sha256)
    check_films(model, {parts.gate / GATE: gate, parts.audit: audit["details"]})
    studies = read_studies(parts.figures) if parts.figures else None
    figures = join(evaluation, gate, audit, studies)
    figures["details"]["design"] = parts.design.read_text("utf-8").strip() if parts.design else ""
    lacking = figures["details"]["missing"]
    if lacking and not incomplete:
        lines = [f"{len(lacking)} of {len(REQUIRED)} figures are missing; what makes each:"]
        for name, command in lacking.items():
            here = f" (here {figures[name]['method']})" if name in figures else ""
            lines.append(f"  {name}: {command}{here}")
        raise Incomplete("\n".join([*lines, "--incomplete releases without them, and the card says so"]))
    files = {name: (parts.model / name).read_bytes() for name in (WEIGHTS, CONFIG)}
    files |= {name: (parts.gate / name).read_bytes() for name in (GATE, GATE_WEIGHTS)}
    files[SPLIT] = read_split_file(parts.model / SPLIT, model)
    files[METRICS] = (json.dumps(figures, indent=1, allow_nan=False) + "\n").encode()
    sheets = render(model, figures, len(files[WEIGHTS]), read_split(parts.model / SPLIT))
    files |= {name: text.encode() for name, text in sheets.items()}
    return files, figures


def read_gate(folder: Path, model: Model) -> dict[str, Any]:
    """Return what the ``gate.json`` of a model's gate holds.

    Raises
    ------
    ValueError
        If there is none, or it is one of another network; `model.checkpoint.BadModel` if it was altered.
    """
    path = folder / GATE
    values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    came = values.get("rules", {}).get("network_sha256", "none")
    if came != model.weights_sha256:
        raise ValueError(
            f"{path}: expected a gate of the weights {model.weights_sha256}, came {came}; "
            f"make it: {MAKE_GATE}"
        )
    load_gate(folder, model.weights_sha256)
    return values


def read_evaluation(path: Path, model: Model) -> Figures:
    """Return the evaluation of a model on the test films of the manifest that it was made with.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or it is of other weights, another calibration or other films.
    """
    found = read_figures(path, EVALUATE)
    details, calibration = found["details"], model.calibration
    expected = {
        "weights_sha256": model.weights_sha256,
        "config_sha256": model.config_sha256,
        "threshold": calibration.threshold,
        "band_low": calibration.band_low,
        "band_high": calibration.band_high,
        "prevalence_assumed": calibration.prevalence_assumed,
        "data_sha256": model.provenance.get("data_sha256"),
        "subset": "test",
    }
    for name, value in expected.items():
        if details.get(name) != value:
            raise ValueError(
                f"{path}: expected an evaluation of this model on its own test films, with {name} {value}, "
                f"came {details.get(name)}; make it anew: {EVALUATE}"
            )
    return found


def check_films(model: Model, told: Mapping[Path, Mapping[str, Any]]) -> None:
    """Refuse parts of a release that speak of other films than those that the model was made with.

    Raises
    ------
    ValueError
        Naming the file, both hashes of the manifest, and what to do.
    """
    expected = model.provenance.get("data_sha256")
    for path, values in told.items():
        if values.get("data_sha256") != expected:
            raise ValueError(
                f"{path}: expected the manifest that the model was made with, data_sha256 {expected}, came "
                f"{values.get('data_sha256')}; make it anew with that manifest"
            )


def read_studies(path: Path) -> Figures:
    """Return what `model.reproduce` wrote of the studies.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or a study is of another recipe than `model.studies` holds, as with ``--quick``.
    """
    found = read_figures(path, REPRODUCE)
    for network, recipes in found["details"].get("recipes", {}).items():
        for study, came in recipes.items():
            expected = recipe_of_today(study, network)
            if came != expected:
                raise ValueError(
                    f"{path}: {study} of {network} is of another recipe than model.studies holds, or of a "
                    f"quick run: expected {expected}, came {came}; run it anew: {REPRODUCE}"
                )
    return found


def read_split_file(path: Path, model: Model) -> bytes:
    """Return the split of a model as it lies beside it.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is missing, or is another one than the model was made with.
    """
    data = path.read_bytes()
    expected, came = model.provenance.get("split_sha256"), hashlib.sha256(data).hexdigest()
    if came != expected:
        raise ValueError(
            f"{path}: expected the split that made the model, SHA-256 {expected}, came {came}; "
            f"copy {SPLIT} from the folder of the run"
        )
    return data


def write_release(folder: Path, files: dict[str, bytes]) -> int:
    """Write the files of a release, each whole, and return the bytes of everything in the folder.

    Raises
    ------
    ValueError
        If all would be larger than `LARGEST`; nothing is written then.
    OSError
        If the disk is full; each file is then whole, the old one or the new one.
    """
    others = [path for path in folder.glob("*") if path.is_file() and path.name not in files]
    size = sum(map(len, files.values())) + sum(path.stat().st_size for path in others)
    if size > LARGEST:
        largest = max(files, key=lambda name: len(files[name]))
        raise ValueError(
            f"expected at most {LARGEST / 1e6:.0f} MB in all, came {size / 1e6:.1f} MB, of which {largest} "
            f"has {len(files[largest]) / 1e6:.1f} MB: release a smaller network"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_whole(folder / name, data)
    return size


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m model.ship", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="model folder, as training leaves it")
    add("--evaluation", type=Path, required=True, metavar="JSON", help="metrics.json of model.evaluate")
    add("--gate", type=Path, required=True, metavar="DIR", help="folder of the gate, by model.gate")
    add("--audit", type=Path, required=True, metavar="JSON", help="audit.json of model.audit")
    add("--figures", type=Path, metavar="JSON", help="figures.json of model.reproduce")
    add("--design", type=Path, metavar="FILE", help="text: how the design was chosen before the run")
    add("--to", type=Path, required=True, metavar="DIR", help="folder of the release")
    add("--incomplete", action="store_true", help="release without all figures; the card says which")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    parts = Parts(
        options.model, options.evaluation, options.gate, options.audit, options.figures, options.design
    )
    with one_line_errors(parser):
        files, figures = gather(parts, options.incomplete)
        size = write_release(options.to, files)
    for name in REQUIRED:
        print(f"{name}: {Figure(**figures[name]) if name in figures else 'not run'}")
    for sentence in figures["details"]["audit"]["red"]:
        print(f"RED: {sentence}")
    print(f"{len(files)} files, {size / 1e6:.1f} MB, in {options.to}. {figures['details']['note']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
