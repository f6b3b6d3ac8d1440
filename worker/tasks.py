"""The Celery tasks: a row's id in, one call, nothing out."""

from worker import context, delivery, pipeline, sweeper
from worker.celery import app


@app.task
def analyse(image_id: int) -> None:
    """Judge one image."""
    pipeline.analyse(context.get(), image_id)


@app.task
def deliver(delivery_id: int) -> None:
    """Send one result to one destination."""
    delivery.deliver(context.get(), delivery_id)


@app.task
def sweep() -> None:
    """Ring for what was left behind."""
    sweeper.ring(context.get())
