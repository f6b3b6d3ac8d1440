"""Run everything on this machine: broker, listener and workers, watched and restarted."""

import argparse

from worker import context, folder, logs, schema
from worker.receiver import tls_of
from worker.supervisor import Supervisor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(options: argparse.Namespace) -> int:
    """Prepare the database, then supervise until SIGTERM or Ctrl-C."""
    current = context.get()
    logs.configure(current.settings.log_level)
    # A listener that cannot start would be started again and again.
    tls_of(current.settings)
    folder.prepare(current.settings.data)
    schema.prepare(current.engine, current.settings)
    current.engine.dispose()
    return Supervisor(current.settings).run()
