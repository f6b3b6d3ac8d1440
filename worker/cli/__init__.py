"""The command line: one module per command, imported when it is asked for, each with its own parser."""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, ProgrammingError

from dicom_io.errors import CxrError
from worker import __version__, logs, settings
from worker.broker import NoBroker
from worker.cli.installation import NoInstallation
from worker.folder import AlreadyUp
from worker.schema import WrongRevision
from worker.settings import SettingsError

COMMANDS = {
    "up": "Run everything on this machine: broker, listener and workers, watched and restarted.",
    "listen": "Run the DICOM listener and the relay that rings the workers.",
    "status": "Show where everything stands: ledger, deliveries, queues, and who was turned away.",
    "results": "List results from the database: a table, or JSON or CSV, filtered.",
    "audit": "Balance the ledger: received = reported + refused + dead + waiting; exit 1 when it does not.",
    "retry": "Take up again what was given up: a dead film's analysis, or its dead deliveries.",
    "reissue": "Judge a film anew: one whose identity was changed, or a reported one by a newer model.",
    "predict": "Judge DICOM, PNG or JPEG files without any server; one line each.",
    "send": "Send DICOM files to a listener by C-STORE; ours when no other is named.",
    "pull": "Pull the films of a study from a PACS by accession number, and analyse them like any other.",
    "doctor": "Explain what a PACS accepts of what we send and ask, and which box to tick where it does not.",
    "config": "Print the effective settings, each with where it came from; secrets are not shown.",
    "migrate": "Bring the database to the revision that this version needs.",
}
"""Each module of this package that is a command, with its first line."""
RESEARCH_ONLY = "Research software. Not for diagnosis."
EXIT_ERROR = 2
IN_WORDS = (SettingsError, WrongRevision, AlreadyUp, NoBroker, NoInstallation, CxrError, LookupError)
"""Errors whose message says what was expected and what to do."""
LISTEN_TROUBLE = {
    errno.EADDRINUSE: "it is taken by another program; stop it or set [listener] port",
    errno.EADDRNOTAVAIL: "this machine has no such address; set [listener] host",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # Before a command is imported: Celery's app reads the settings when its module is.
    where, _ = _where().parse_known_args(arguments)
    logs.quieten()
    try:
        settings.choose(where.data, where.config)
        options = parser().parse_args(arguments)
        settings.current()
        code = int(options.run(options))
        # Here, so that a reader who has gone is noticed inside.
        sys.stdout.flush()
        return code
    except IN_WORDS as error:
        _say(str(error))
    except DBAPIError as error:
        _say(f"the database cannot be used: {_database_trouble(error)}")
        _say("run `cxr-worker migrate` to make its tables; `cxr-worker config` shows where it is")
    except BrokenPipeError:
        # The reader, `head` say, has what it wants; without this, closing the stream would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _say(_system_trouble(error))
    return EXIT_ERROR


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; a command's module is imported when its arguments are parsed."""
    top = argparse.ArgumentParser(
        prog="cxr-worker",
        description=f"Chest X-ray AI worker for DICOM and PACS. {RESEARCH_ONLY}",
        parents=[_where()],
    )
    top.add_argument("--version", action="version", version=f"cxr-worker {__version__}. {RESEARCH_ONLY}")
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_CommandParser
    )
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, description=summary)
    return top


def _where() -> argparse.ArgumentParser:
    """The options that decide which settings are read."""
    where = argparse.ArgumentParser(prog="cxr-worker", add_help=False)
    where.add_argument("--data", metavar="DIR", help="folder for all that is written (CXR_DATA; ./cxr-data)")
    where.add_argument("--config", metavar="FILE", help="TOML file (CXR_CONFIG; DIR/config.toml)")
    return where


class _CommandParser(argparse.ArgumentParser):
    """Takes its arguments from the command's module, on first use."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.get_default("run") is None:
            module = import_module(f"worker.cli.{self.prog.split()[-1]}")
            module.add_arguments(self)
            self.set_defaults(run=module.run)
        return super().parse_known_args(args, namespace)


def _say(words: str) -> None:
    print(f"cxr-worker: {words}", file=sys.stderr)


def _database_trouble(error: DBAPIError) -> str:
    """The driver's words where they are about the database; where they may quote a row, the error's name."""
    if isinstance(error, OperationalError | ProgrammingError) or type(error) is DatabaseError:
        return next(iter(str(error.orig).splitlines()), type(error.orig).__name__)
    return type(error.orig).__name__


def _system_trouble(error: OSError) -> str:
    listener = settings.current().listener
    if isinstance(error, socket.gaierror):
        trouble: str | None = "the name has no address; set [listener] host"
    elif error.filename is None and isinstance(error, PermissionError):
        trouble = "a port below 1024 needs a privilege; set [listener] port"
    else:
        trouble = LISTEN_TROUBLE.get(error.errno or 0)
    if trouble is not None:
        return f"expected to listen on {listener.host}:{listener.port}: {trouble}"
    place = "" if error.filename is None else f" {error.filename}"
    return f"expected to read and write{place}: {error.strerror or type(error).__name__}; is --data right?"
