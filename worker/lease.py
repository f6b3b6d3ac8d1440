"""Keep a lease while the work goes on."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from worker import database

log = logging.getLogger(__name__)


@contextmanager
def kept(engine: Engine, lease_s: float, renew: Callable[[Session], bool]) -> Iterator[None]:
    """Renew a lease at every third of its time, in a thread, until the block ends.

    Parameters
    ----------
    renew
        Prolongs it in the given transaction; False when it is somebody else's by now.
    """
    done = Event()

    def keep() -> None:
        while not done.wait(lease_s / 3):
            try:
                with database.write(engine) as session:
                    if not renew(session):
                        return
            except SQLAlchemyError as error:
                # The next turn may succeed; if none does, the lease runs out, which is what it is for.
                log.warning("a lease was not renewed: %s", type(error).__name__)

    thread = Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
