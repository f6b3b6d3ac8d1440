"""Keep a lease while the work goes on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from worker import database
from worker.queries import images
from worker.queries.images import Claim

log = logging.getLogger(__name__)


@contextmanager
def kept(engine: Engine, claim: Claim, lease_s: float) -> Iterator[None]:
    """Renew the lease at every third of its time, in a thread, until the block ends."""
    done = Event()

    def renew() -> None:
        while not done.wait(lease_s / 3):
            try:
                with database.write(engine) as session:
                    if not images.renew(session, claim, lease_s=lease_s):
                        return
            except SQLAlchemyError as error:
                # The next turn may succeed; if none does, the lease runs out, which is what it is for.
                log.warning("image %d: lease not renewed: %s", claim.image_id, type(error).__name__)

    thread = Thread(target=renew, name=f"lease-{claim.image_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
