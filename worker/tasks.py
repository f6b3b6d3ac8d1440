"""The Celery tasks: a row's id in, one call, nothing out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from worker import bell, context, delivery, pipeline, sweeper
from worker.celery import app

log = logging.getLogger(__name__)


@app.task
def analyse(image_id: int) -> None:
    """Judge one image."""
    with _edge(f"image {image_id}"):
        pipeline.analyse(context.get(), image_id)


@app.task
def deliver(delivery_id: int) -> None:
    """Send one result to one destination."""
    with _edge(f"delivery {delivery_id}"):
        delivery.deliver(context.get(), delivery_id)


@app.task
def sweep() -> None:
    """Ring for what was left behind."""
    with _edge("sweep"):
        sweeper.ring(context.get())


@contextmanager
def _edge(what: str) -> Iterator[None]:
    """One line, not a traceback that may quote a row: the lease runs out, and a sweeper rings again."""
    try:
        yield
    except (*bell.AWAY, SQLAlchemyError) as error:
        log.error("%s: waits for the database or the broker: %s", what, type(error).__name__)
