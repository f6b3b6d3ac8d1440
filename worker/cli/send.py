"""Send DICOM files to a listener by C-STORE; ours when no other is named."""

import argparse
from pathlib import Path

from pydicom.errors import InvalidDicomError

from dicom_io import scu
from dicom_io.association import Target
from dicom_io.errors import CxrError
from dicom_io.scu import Outcome
from worker import context, own_port
from worker.cli import peer_argument
from worker.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files and the listener."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--to", metavar="AET@HOST:PORT", help="the listener (that of the settings)")
    parser.add_argument("--from", dest="calling", metavar="AET", help="our AE title (the first [[sender]])")


def run(options: argparse.Namespace) -> int:
    """Send each file; exit 1 when one was not taken."""
    target = _target(options.to, options.calling, context.get().settings)
    failures = 0
    for path in options.files:
        try:
            answer = scu.send_file(target, path)
            taken, words = answer.outcome == Outcome.SENT, answer.text
        except (CxrError, OSError) as error:
            taken, words = False, str(error)
        except (InvalidDicomError, AttributeError):
            taken, words = False, "expected a DICOM file with file meta information (PS3.10), it is none"
        failures += not taken
        print(f"{path}: {words}")
    return 1 if failures else 0


def _target(to: str | None, calling: str | None, settings: Settings) -> Target:
    ours = peer_argument.ae_title(calling, "--from") or next(
        (sender.aet for sender in settings.sender), "CXRSEND"
    )
    if to is None:
        return own_port.target(settings, ours)
    return Target(*peer_argument.address(to, "--to"), ours)
