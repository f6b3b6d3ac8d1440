"""Is this a film like those that the model was trained on? If not, which reason. ``python -m model.gate``.

Asked of the summary that the network's own pass leaves (`model.stages`), so that a film is passed once.

Shapes: N films, F numbers of a summary, D directions in which adult films vary, P parts of the gate.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model import own_network
from model.checkpoint import BadModel
from model.command_edge import count, one_line_errors
from model.config import values_sha256
from model.whole_files import write_whole

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

FORMAT = 1
GATE = "gate.json"
GATE_WEIGHTS = "gate.safetensors"
LATERAL, CHILD, NOT_CHEST, OUT_OF_DISTRIBUTION = "lateral", "child", "not_chest", "out_of_distribution"
LEARNED = (LATERAL, CHILD, NOT_CHEST)
"""Parts that learned what they refuse."""
PARTS = (*LEARNED, OUT_OF_DISTRIBUTION)
"""All parts; the last knows adult films alone. Each is named as the reason that it gives."""
WORDS = {
    LATERAL: "a lateral view",
    CHILD: "a child's chest",
    NOT_CHEST: "a picture of something else than a chest",
    OUT_OF_DISTRIBUTION: "a picture unlike every film that the model knows",
}


@dataclass(frozen=True)
class GateRefusal:
    """Why a picture must not be judged."""

    reason: str
    """One of `PARTS`."""
    detail: str
    """What was expected and what came, in words and figures."""


@dataclass(frozen=True)
class GateWeights:
    """What the parts of the gate have learned, as arrays."""

    centre_F: Float32
    """Average summary of adult frontal films."""
    scale_F: Float32
    """Their deviation; a summary is centred and scaled by both before anything is asked."""
    weights_PF: Float32
    """Of the parts in `LEARNED`: log-odds against an adult frontal film."""
    bias_P: Float32
    """Added to them."""
    axes_DF: Float32
    """Directions in which adult films vary most."""
    variance_D: Float32
    """How much they vary there."""
    rest_1: Float32
    """How much they vary in each of the other directions, on average."""

    def scores(self, summary_NF: NDArray[np.floating[Any]]) -> Float64:
        """Return ``scores_NP``: log-odds of the parts that learned, then the logarithm of the distance.

        The distance is Mahalanobis's under probabilistic principal components (Tipping and Bishop 1999),
        squared, per number of the summary: 1, on average, for the films that it was fitted on.
        """
        z_NF = (np.asarray(summary_NF, np.float64) - self.centre_F) / self.scale_F
        along_ND = z_NF @ self.axes_DF.T.astype(np.float64)
        beside_N = np.square(z_NF).sum(axis=1) - np.square(along_ND).sum(axis=1)
        distance_N = (np.square(along_ND) / self.variance_D).sum(axis=1) + beside_N / float(self.rest_1[0])
        learned_NP = z_NF @ self.weights_PF.T.astype(np.float64) + self.bias_P
        return np.column_stack([learned_NP, np.log(np.maximum(distance_N / z_NF.shape[1], 1e-9))])


@dataclass(frozen=True)
class Gate:
    """The parts and their limits, as they serve."""

    weights: GateWeights
    limits_P: Float64
    """A score above its limit refuses."""
    stages: tuple[str, ...]
    """Modules of the network whose maps are summarised."""
    sha256: str = ""
    """Hash of the arrays' file."""

    def __call__(self, summary_F: NDArray[np.floating[Any]]) -> GateRefusal | None:
        """Return why a film must not be judged, or None.

        Parameters
        ----------
        summary_F
            What `model.stages.Stages.take` says of it.
        """
        scores_P = self.weights.scores(summary_F[None])[0]
        part = named_reason(scores_P - self.limits_P)
        if part is None:
            return None
        above = [
            f"{name} {score:.2f} (at most {limit:.2f})"
            for name, score, limit in zip(PARTS, scores_P, self.limits_P, strict=True)
            if score > limit
        ]
        came = f"expected an adult's frontal chest film, came {WORDS[part]}, by the pixels"
        return GateRefusal(part, f"{came}: {', '.join(above)}")


def named_reason(margin_P: Float64) -> str | None:
    """Return the reason of a film from its scores less their limits; None where it may be judged.

    The part furthest above its limit says it. But what is no chest is unlike adult films and laterals alike,
    and where it was not learned "lateral" may fit it better than "no chest": far from all films, it is none.
    """
    above = dict(zip(PARTS, margin_P > 0, strict=True))
    if above[NOT_CHEST] and above[OUT_OF_DISTRIBUTION]:
        return NOT_CHEST
    if any(above[part] for part in LEARNED):
        return LEARNED[int(np.argmax(margin_P[: len(LEARNED)]))]
    return OUT_OF_DISTRIBUTION if above[OUT_OF_DISTRIBUTION] else None


def save_gate(folder: Path, gate: Gate, weights_sha256: str, about: dict[str, Any]) -> None:
    """Write a gate into a model folder.

    Parameters
    ----------
    folder
        The folder of the model whose network it belongs to.
    gate
        The gate; its `sha256` is not read.
    weights_sha256
        Hash of that network's weights: a gate is worth nothing with others.
    about
        Figures and provenance, kept as they are.

    Raises
    ------
    OSError
        If the disk is full; what was there before is whole.
    """
    arrays = {field.name: getattr(gate.weights, field.name) for field in fields(GateWeights)}
    data = save({name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})
    rules = {
        "network_sha256": weights_sha256,
        "gate_sha256": hashlib.sha256(data).hexdigest(),
        "stages": list(gate.stages),
        "limits": dict(zip(PARTS, (float(limit) for limit in gate.limits_P), strict=True)),
    }
    values = {"format": FORMAT, "rules": rules, "rules_sha256": values_sha256(rules), **about}
    write_whole(folder / GATE_WEIGHTS, data)
    write_whole(folder / GATE, (json.dumps(values, indent=1) + "\n").encode())


def load_gate(folder: Path, weights_sha256: str) -> Gate | None:
    """Read the gate of a model folder; None where it has none.

    Parameters
    ----------
    folder
        A model folder.
    weights_sha256
        Hash of the weights of the network that is to feed it.

    Raises
    ------
    model.checkpoint.BadModel
        If a file is missing or altered, or the gate belongs to another network.
    """
    path, arrays_path = folder / GATE, folder / GATE_WEIGHTS
    if not path.exists() and not arrays_path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise BadModel(f"{path}: expected format {FORMAT}, came {values['format']}")
        rules = values["rules"]
        if values["rules_sha256"] != values_sha256(rules):
            raise BadModel(f"{path}: the limits do not match their hash: the file was altered")
        limits_P = np.array([float(rules["limits"][part]) for part in PARTS])
        stages, expected = tuple(rules["stages"]), str(rules["gate_sha256"])
        data = arrays_path.read_bytes()
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadModel):
            raise
        raise BadModel(f"{folder}: expected a gate of {GATE} and {GATE_WEIGHTS}: {error!r}") from error
    if rules["network_sha256"] != weights_sha256:
        raise BadModel(
            f"{path}: the gate belongs to a network with other weights; fit it anew: "
            "python -m model.gate --model DIR --data MANIFEST --gate DIR"
        )
    return Gate(_read_weights(arrays_path, data, expected), limits_P, stages, expected)


def _read_weights(path: Path, data: bytes, expected_sha256: str) -> GateWeights:
    found = hashlib.sha256(data).hexdigest()
    if found != expected_sha256:
        raise BadModel(f"{path.name}: SHA-256 should be {expected_sha256}, is {found}: the file was altered")
    try:
        weights = GateWeights(**load(data))
    except (SafetensorError, TypeError) as error:
        raise BadModel(f"{path.name}: no arrays of a gate: {error}") from error
    if not all(np.isfinite(getattr(weights, field.name)).all() for field in fields(GateWeights)):
        raise BadModel(f"{path.name}: expected finite numbers, came NaN or infinity")
    return weights


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m model.gate",
        description="Fit the gate of a model to films and to pictures that it must refuse, and write it with "
        "its figures, each on films that the figure's gate has not seen.",
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="model folder whose network it belongs to")
    add("--network-file", **own_network.OPTION)
    add("--data", type=Path, required=True, metavar="MANIFEST", help="films: adults, children, laterals")
    add("--gate", type=Path, required=True, metavar="DIR", help="pictures to refuse: a folder per kind; "
        "kinds that begin with chest_child are children's chests, the others no chests")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="folder for the gate; the model's folder by default")
    add("--cache", type=Path, metavar="FILE", help="keeps what the network says of the films (.npz)")
    add("--seed", type=int, default=0, help="seed of the draws (0)")
    add("--threads", type=count, metavar="N", help="threads of PyTorch")
    options = parser.parse_args(arguments)
    with one_line_errors(parser):
        own_network.enter(options.network_file)
        # The extra of training; serving does without.
        from model.gate_report import fit_and_report

        about = fit_and_report(options)
    for name, figure in about["figures"].items():
        print(f"{name}: {figure['value']} ({figure['low']}-{figure['high']}), {figure['n']} films")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
