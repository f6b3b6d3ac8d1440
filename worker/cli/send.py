"""Send DICOM files to a listener by C-STORE; ours when no other is named."""

import argparse
import re
from pathlib import Path

from pydicom.errors import InvalidDicomError

from dicom_io import scu
from dicom_io.errors import DestinationError
from dicom_io.scu import Outcome, Target
from worker import context, problems
from worker.settings import AE_TITLE_PATTERN, Settings, SettingsError

AE_TITLE = re.compile(AE_TITLE_PATTERN)
ADDRESS = re.compile(r"^(?P<aet>[^@]{1,16})@(?P<host>[^:]+|\[[^]]+\]):(?P<port>\d{1,5})$")


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
        except (DestinationError, OSError) as error:
            taken, words = False, str(error)
        except (InvalidDicomError, AttributeError):
            taken, words = False, "expected a DICOM file with file meta information (PS3.10), it is none"
        failures += not taken
        print(f"{path}: {words}")
    return 1 if failures else 0


def _target(to: str | None, calling: str | None, settings: Settings) -> Target:
    if calling is not None and not AE_TITLE.match(calling):
        raise SettingsError(f"--from {calling}: expected {problems.AE_TITLE}")
    ours = calling or next((sender.aet for sender in settings.sender), "CXRSEND")
    listener = settings.listener
    if to is None:
        return Target(listener.aet, listener.host, listener.port, ours)
    match = ADDRESS.match(to)
    if match is None:
        raise SettingsError(f"--to {to}: expected AET@HOST:PORT, such as CXRWORKER@127.0.0.1:11112")
    if not AE_TITLE.match(match["aet"]):
        raise SettingsError(f"--to {to}: expected {problems.AE_TITLE} before the @")
    if not 1 <= int(match["port"]) <= 65535:
        raise SettingsError(f"--to {to}: expected a port from 1 to 65535")
    return Target(match["aet"], match["host"].strip("[]"), int(match["port"]), ours)
