"""One log format for every part: a line each, and no patient data."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
QUIET = ("pynetdicom", "pydicom", "highdicom", "kombu", "amqp", "alembic", "PIL", "matplotlib")
"""Libraries whose ordinary lines can quote a data set: only their errors are shown."""


def configure(level: str) -> None:
    """Log to standard error at that level."""
    logging.basicConfig(level=level, format=FORMAT, stream=sys.stderr, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    # A line for each message received and done says nothing that the rows do not.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # pynetdicom logs the tracebacks of its callbacks, and they can hold values of a data set.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
