"""The Celery app, and why each setting is as it is."""

import logging
import os
import signal
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_process_init, worker_ready
from kombu.exceptions import OperationalError

from worker import settings as worker_settings
from worker.logs import configure

ANALYSE, DELIVER = "analyse", "deliver"
"""The queues: a PACS that hangs must not keep films from being judged."""

log = logging.getLogger(__name__)

_settings = worker_settings.current()

app = Celery("cxr-worker", broker=_settings.effective_broker_url, include=["worker.tasks"])
app.conf.update(
    # The row is the truth and says what is done: nobody reads results from Celery.
    task_ignore_result=True,
    result_backend=None,
    # Only JSON: a pickle on the queue is code from whoever reaches the broker.
    task_serializer="json",
    accept_content=["json"],
    # A message is gone only after its work; a killed child's message comes back at once.
    # Neither is relied on: leases and the sweeper bring back whatever the broker loses.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    # A film taken twice from the queue finds the lease taken; an hour only spares the noise.
    broker_transport_options={
        "visibility_timeout": 3600,
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        # Of whoever rings: kombu's own tries take six seconds, in which a worker would hold a film.
        "max_retries": 1,
        "interval_start": 0,
    },
    # The broker may be away for as long as it likes.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # The relay tries again at its next turn; it must not hang meanwhile.
    task_publish_retry=False,
    # No remote control: it is a way in, and a flood of messages.
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    task_default_queue=ANALYSE,
    # Both, so that a plain `celery -A worker worker` consumes both; -Q narrows it down.
    task_queues={ANALYSE: {}, DELIVER: {}},
    task_routes={"worker.tasks.deliver": {"queue": DELIVER}},
    # A child that grew is replaced between films.
    worker_max_memory_per_child=4_000_000,
    # A child loads the network before it is ready; the default of 4 s would kill it in the middle.
    worker_proc_alive_timeout=120,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    timezone="UTC",
)


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    """One format for all parts; Celery's own would print task arguments."""
    configure(_settings.log_level)


@worker_init.connect
def _write_privately(**_: Any) -> None:
    """Results hold patients' names: no file is readable by others."""
    os.umask(0o077)


@worker_process_init.connect
def _load_the_model(**_: Any) -> None:
    """Load the network before the first film; with a bad one the whole worker stops, with words."""
    if ANALYSE not in app.amqp.queues.consume_from:
        return
    from worker import context  # with the tensor library: in the child only

    try:
        context.get().predictor  # noqa: B018 (a cached property: asking loads it)
    except context.ModelUnusable as error:
        log.critical("%s; this worker stops", error)
        os.kill(os.getppid(), signal.SIGTERM)


@worker_ready.connect
def _sweep_regularly(sender: Any, **_: Any) -> None:
    """Let every worker look for what was left behind; in a child, since SQLite and fork do not mix."""

    def ring() -> None:
        try:
            app.send_task("worker.tasks.sweep", expires=_settings.sweep_s, queue=_own_queue(sender))
        except OperationalError:
            # The broker is away: the listener's sweeper and the next turn see to it.
            return

    sender.timer.call_repeatedly(_settings.sweep_s, ring)


def _own_queue(consumer: Any) -> str:
    return str(next(iter(consumer.app.amqp.queues.consume_from)))
