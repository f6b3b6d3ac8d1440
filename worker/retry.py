"""When to try again: one pure function, so that every retry in the database follows one rule."""

from datetime import timedelta
from random import Random

FIRST_S = 5.0
"""Wait after the first attempt that led to nothing."""
CAP_S = 30 * 60.0
"""Longest wait: a PACS that comes back after a weekend has its reports within half an hour."""


def wait_before(attempt: int, random: Random, *, first_s: float = FIRST_S, cap_s: float = CAP_S) -> timedelta:
    """Exponential wait with full jitter on its upper half.

    Parameters
    ----------
    attempt
        Attempts made so far, 1 or more.
    random
        Source of the jitter, so that a destination that comes back is not stormed.
    """
    ceiling = min(cap_s, first_s * 2 ** min(attempt - 1, 30))
    return timedelta(seconds=ceiling * (0.5 + 0.5 * random.random()))


RANDOM = Random()
"""Jitter of this process; from the operating system, so that workers do not move in step."""
