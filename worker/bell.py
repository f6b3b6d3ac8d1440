"""The doorbell: tell Celery that a row is work; what the message says is its id and no more."""

from kombu.exceptions import OperationalError

from worker.celery import app

ANALYSE_TASK, DELIVER_TASK = "worker.tasks.analyse", "worker.tasks.deliver"
AWAY = (OperationalError, OSError)
"""What ringing raises when the broker is away; the row waits for the next turn of a sweeper."""


def ring_analyse(image_id: int) -> None:
    """An image is to be judged."""
    app.send_task(ANALYSE_TASK, (image_id,))


def ring_deliver(delivery_id: int) -> None:
    """A delivery is to be taken a step on."""
    app.send_task(DELIVER_TASK, (delivery_id,))
