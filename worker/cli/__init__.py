"""The command line: one module per command, each with its own parser."""

import argparse
import sys
from collections.abc import Sequence

from sqlalchemy.exc import OperationalError

from dicom_io.errors import CxrError
from worker import __version__, settings
from worker.broker import NoBroker
from worker.cli import audit, config, listen, migrate, predict, results, retry, send, status, up
from worker.folder import AlreadyUp
from worker.schema import WrongRevision
from worker.settings import SettingsError

COMMANDS = (up, listen, status, results, audit, retry, predict, send, config, migrate)
RESEARCH_ONLY = "Research software. Not for diagnosis."
EXIT_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        settings.choose(options.data, options.config)
        return int(options.run(options))
    except (SettingsError, WrongRevision, AlreadyUp, NoBroker, CxrError, LookupError) as error:
        print(f"cxr-worker: {error}", file=sys.stderr)
    except OperationalError as error:
        print(f"cxr-worker: the database cannot be used: {error.orig}", file=sys.stderr)
        print("`cxr-worker migrate` makes its tables; `cxr-worker config` shows where it is", file=sys.stderr)
    return EXIT_ERROR


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="cxr-worker", description=f"Chest X-ray AI worker for DICOM and PACS. {RESEARCH_ONLY}"
    )
    top.add_argument("--version", action="version", version=f"cxr-worker {__version__}. {RESEARCH_ONLY}")
    top.add_argument("--data", metavar="DIR", help="folder for all that is written (CXR_DATA; ./cxr-data)")
    top.add_argument("--config", metavar="FILE", help="TOML file (CXR_CONFIG; DIR/config.toml)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        summary = (module.__doc__ or "").strip().splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top
