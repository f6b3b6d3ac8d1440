"""`python -m model.export`: a network in OpenVINO's form, with logits, summary of its stages, and map."""

import argparse
import dataclasses
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openvino
import torch
from openvino.frontend import GeneralFailure, NotImplementedFailure, OpConversionFailure, OpValidationFailure

from model import own_network
from model.checkpoint import RELEASE, load_model
from model.command_edge import one_line_errors
from model.config import to_dict
from model.one_pass import OnePass, Outputs
from model.whole_files import write_whole

GRAPH, GRAPH_WEIGHTS, DESCRIPTION = "network.xml", "network.bin", "export.json"
INPUT = "film_NCHW"
OUTPUTS = {
    "logits_NK": "one logit per head, before calibration",
    "summary_NF": "mean and deviation of each channel at the end of each resolution, for the gate",
    "map_NHW": "Grad-CAM of COVID-19 on the model's fixed scale, 0-1, over the whole film",
}


class NotConvertible(ValueError):
    """OpenVINO knows no counterpart of something in the network."""


def converted(one_pass: OnePass, input_px: int) -> Any:
    """Return the `openvino.Model` of one film: input ``film_NCHW``, outputs named as in `Outputs`.

    Raises
    ------
    NotConvertible
        If the network holds an operation that OpenVINO does not know.
    """
    film_NCHW = torch.zeros(1, 3, input_px, input_px)
    try:
        with _logging_as_it_was(), torch.inference_mode():
            made = openvino.convert_model(one_pass, example_input=film_NCHW)
    except (GeneralFailure, NotImplementedFailure, OpConversionFailure, OpValidationFailure) as error:
        # Several lines, of which any may name the operation.
        words = " ".join(str(error).split())
        raise NotConvertible(f"OpenVINO cannot take over {one_pass.network.entry.name}: {words}") from error
    # The graph holds for any shape; a fixed one lets OpenVINO plan its memory once.
    made.reshape(list(film_NCHW.shape))
    made.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(made.outputs, Outputs._fields, strict=True):
        output.get_tensor().set_names({name})
    return made


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    # OpenVINO's converter silences the root logger, and leaves it so where it fails.
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers


def export(folder: Path, target: Path) -> str:
    """Write a model folder's network in OpenVINO's form, and beside it what its outputs mean.

    `worker` reads no such folder: it converts the checked weights itself whenever it starts.

    Parameters
    ----------
    folder
        A model folder as `model.train` writes it.
    target
        Gets ``network.xml`` and ``network.bin`` (float32), and ``export.json``: hashes of these and of the
        weights that they came from, configuration with preprocessing, calibration, meaning of the outputs.

    Returns
    -------
    str
        SHA-256 of the exported weights.

    Raises
    ------
    model.checkpoint.BadModel
        If the model folder is incomplete or does not match its hashes.
    NotConvertible
        If OpenVINO does not know an operation of the network.
    OSError
        If the files cannot be written.
    """
    model = load_model(folder)
    one_pass = OnePass(model.network, model.calibration.cam_scale)
    graph = converted(one_pass, model.config.transforms.input_px)
    target.mkdir(parents=True, exist_ok=True)
    written = {}
    with tempfile.TemporaryDirectory(prefix="cxr-export-") as scratch:
        # Half precision is OpenVINO's default for files, and off by more than is promised.
        openvino.save_model(graph, Path(scratch) / GRAPH, compress_to_fp16=False)
        for name in (GRAPH_WEIGHTS, GRAPH):
            data = (Path(scratch) / name).read_bytes()
            write_whole(target / name, data)
            written[name] = hashlib.sha256(data).hexdigest()
    description = {
        "name": model.config.name,
        "version": model.config.version,
        "weights_sha256": model.weights_sha256,
        "sha256": written,
        "openvino": openvino.__version__,
        "input": {INPUT: "float32, 1 x 3 x side x side, from model.transforms.evaluation_transform"},
        "outputs": {name: OUTPUTS[name] for name in Outputs._fields},
        "head_names": list(model.network.head_names),
        "config": to_dict(model.config),
        "calibration": dataclasses.asdict(model.calibration),
        "use": "Compile with INFERENCE_PRECISION_HINT f32. For research and teaching, not for diagnosis.",
    }
    write_whole(target / DESCRIPTION, (json.dumps(description, indent=1) + "\n").encode())
    return written[GRAPH_WEIGHTS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m model.export",
        description="Write a model's network in OpenVINO's form, for programs other than this one.",
    )
    add = parser.add_argument
    add("--model", type=Path, default=RELEASE, metavar="DIR", help="model folder; the shipped one by default")
    add("--network-file", **own_network.OPTION)
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the files; by default openvino/ in the model folder",
    )
    options = parser.parse_args(arguments)
    target = options.out or options.model / "openvino"
    with one_line_errors(parser):
        own_network.enter(options.network_file)
        digest = export(options.model, target)
    print(f"{target / GRAPH}: outputs {', '.join(Outputs._fields)}; weights {digest[:16]}...")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
