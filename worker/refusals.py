"""What a process remembers of the SOP classes that a destination refused, so that not each film asks anew.

Memory of the process, not of the database: to forget it costs one refused association, and a destination
that was taught a richer form must get it without anybody's doing.
"""

import time
from collections.abc import Callable

REMEMBERED_S = 3600.0


class RefusedClasses:
    """SOP classes by destination, each for an hour after it was refused."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def note(self, destination: str, sop_class_uid: str) -> None:
        """Remember a refusal."""
        self._until[destination, sop_class_uid] = self._clock() + REMEMBERED_S

    def holds(self, destination: str, sop_class_uid: str) -> bool:
        """Whether it was refused within the hour."""
        return self._clock() < self._until.get((destination, sop_class_uid), 0.0)
