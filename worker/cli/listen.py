"""Run the DICOM listener and the relay that rings the workers."""

import argparse
import logging
import signal
from threading import Event

from worker import context, folder, logs, schema
from worker.receiver import Receiver
from worker.sweeper import Relay

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(options: argparse.Namespace) -> int:
    """Clear what a kill left behind, listen, and ring until SIGTERM or Ctrl-C."""
    current = context.get()
    settings = current.settings
    logs.configure(settings.log_level)
    folder.prepare(settings.data)
    # Alone: a second listener here would take the first one's half-received films for leftovers.
    lock = folder.hold(settings.data / "listener.lock", "cxr-worker listen")
    schema.prepare(current.engine, settings)
    relay = Relay(current)
    receiver = Receiver(settings, current.engine, relay.wake)
    listener = receiver.listener()
    removed, adopted = receiver.recover()
    if removed or adopted:
        log.info("after a stop: %d unfinished files removed, %d films given their row", removed, adopted)
    if not settings.sender:
        log.warning("no [[sender]] is configured: every association will be rejected")
    if not settings.destination:
        log.warning("no [[destination]] is configured: results stay in the database")
    if settings.listener.commitment and settings.retention != "keep":
        log.warning('[listener] commitment is on, but without retention = "keep" nothing is committed')
    done = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    # The port first: where it is taken, this process has rung for nobody.
    listener.start()
    relay.start()
    done.wait()
    listener.stop()
    relay.stop()
    lock.close()
    return 0
