"""Judge DICOM, PNG or JPEG files without any server; one line each."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dicom_io.acceptance import Refusal
from dicom_io.errors import CxrError
from worker import context, reading
from worker.cli.terminal import visible
from worker.one_look import OneLook
from worker.reading import Refused

EXIT_NOT_ALL = 1


@dataclass(frozen=True)
class Line:
    """What is printed of one file."""

    path: str
    state: str
    """`analysed`, `refused` or `failed`."""
    probability: float | None
    decision: str | None
    reason: str | None
    detail: str | None
    model_version: str
    notice: str = "research only, not for diagnosis"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="DICOM, PNG or JPEG")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(options: argparse.Namespace) -> int:
    """Judge each file; exit 1 when one could be neither judged nor refused."""
    current = context.get()
    failed = False
    for path in options.files:
        line = judge(current, path)
        failed = failed or line.state == "failed"
        print(json.dumps(asdict(line)) if options.json else _words(line), flush=True)
    return EXIT_NOT_ALL if failed else 0


def judge(current: context.Context, path: Path) -> Line:
    """Judge one file as the worker would."""
    version, look = current.predictor.info.version, OneLook(current.predictor)
    try:
        image_HW = reading.read_any(path, current.settings, look.gate)
    except Refused as refused:
        refusal: Refusal = refused.refusal
        return Line(str(path), "refused", None, None, refusal.reason, refusal.detail, version)
    except (OSError, CxrError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Line(str(path), "failed", None, None, type(error).__name__, words, version)
    prediction = look.judge(image_HW)
    return Line(str(path), "analysed", prediction.probability, prediction.decision, None, None, version)


def _words(line: Line) -> str:
    if line.probability is None:
        return f"{visible(line.path)}: {line.state}: {line.reason}: {line.detail}"
    judged = f"COVID-19 {line.decision}, P = {100 * line.probability:.1f} %"
    return f"{visible(line.path)}: {judged} (model {line.model_version}; {line.notice})"
