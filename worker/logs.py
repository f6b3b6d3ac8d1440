"""One log format for every part: a line each, and no patient data."""

import logging
import sys
import warnings

from worker.faults import place_of

QUIET = ("pynetdicom", "pydicom", "highdicom", "kombu", "amqp", "alembic", "PIL", "matplotlib", "urllib3")
"""Libraries whose ordinary lines can quote a data set: only their errors are shown."""


class OneLine(logging.Formatter):
    """A line for each record: in place of a traceback, which may quote a data set, what it was and where."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, and for an exception its class and place."""
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}"
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line = f"{line} ({type(error).__name__} at {place_of(error)})"
        return line.replace("\n", " ")


def configure(level: str) -> None:
    """Log to standard error at that level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    quieten()


def quieten() -> None:
    """Let no library tell what is in a data set."""
    # pydicom and highdicom quote values in their warnings, and blame whichever module called them.
    warnings.filterwarnings("ignore", category=UserWarning)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    # A line for each message received and done says nothing that the rows do not.
    for name in ("celery.worker.strategy", "celery.worker.request", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # pynetdicom logs the tracebacks of its callbacks, and they can hold values of a data set.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
