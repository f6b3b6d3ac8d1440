"""Ring Celery for every row that is work: relay of what is new, sweeper of what was left behind."""

import logging
from threading import Event, Thread

from sqlalchemy.exc import SQLAlchemyError

from worker import bell, broker, database
from worker.celery import ANALYSE, DELIVER
from worker.context import Context
from worker.queries import deliveries, images

log = logging.getLogger(__name__)

MOST_MESSAGES = 200
"""Messages that a queue may hold: what waits behind them is rung later, and a flood helps nobody."""


def ring(context: Context) -> int:
    """Send a message for each row that is due and of which Celery does not know; returns how many.

    Messages first, then the note that they went out: killed in between, they go out twice, and the
    second finds the lease taken.

    Raises
    ------
    kombu.exceptions.OperationalError, OSError
        The broker is away (`bell.AWAY`); the rows stay as they are.
    """
    again_s, url = context.settings.ring_again_s, context.settings.effective_broker_url
    room = broker.room(url, (ANALYSE, DELIVER), MOST_MESSAGES)
    with database.read(context.engine) as session:
        image_ids = images.to_ring(session, ring_again_s=again_s, limit=room[ANALYSE])
        delivery_ids = deliveries.to_ring(session, ring_again_s=again_s, limit=room[DELIVER])
    for image_id in image_ids:
        bell.ring_analyse(image_id)
    for delivery_id in delivery_ids:
        bell.ring_deliver(delivery_id)
    if image_ids or delivery_ids:
        with database.write(context.engine) as session:
            images.mark_rung(session, image_ids, actor=f"{context.settings.node_id}/relay")
            deliveries.mark_rung(session, delivery_ids)
    return len(image_ids) + len(delivery_ids)


class Relay:
    """Rings in a thread of its own: at once when woken, else every `sweep_s`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._woken = Event()
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin to ring."""
        self._thread.start()

    def wake(self) -> None:
        """Ring soon; returns at once."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread; what was not rung is rung by others."""
        self._stopped.set()
        self._woken.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                ring(self._context)
            except (*bell.AWAY, SQLAlchemyError) as error:
                log.warning("could not ring, will try again: %s", type(error).__name__)
            self._woken.wait(self._context.settings.sweep_s)
            self._woken.clear()
