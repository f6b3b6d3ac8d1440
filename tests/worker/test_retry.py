"""When to try again: longer each time, never beyond the cap, never all at the same moment."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.retry import CAP_S, FIRST_S, wait_before

ATTEMPTS = st.integers(1, 10_000)


@given(ATTEMPTS, st.integers(0, 2**32))
def test_a_wait_lies_on_the_upper_half_below_its_ceiling(attempt: int, seed: int) -> None:
    ceiling_s = min(CAP_S, FIRST_S * 2 ** min(attempt - 1, 60))
    assert ceiling_s / 2 <= wait_before(attempt, Random(seed)).total_seconds() <= ceiling_s


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_with_the_same_jitter_a_later_attempt_never_waits_less(attempt: int, seed: int) -> None:
    assert wait_before(attempt, Random(seed)) <= wait_before(attempt + 1, Random(seed))


@given(ATTEMPTS, st.floats(0.1, 10_000), st.floats(0.1, 100))
def test_no_wait_is_longer_than_the_cap(attempt: int, cap_s: float, first_s: float) -> None:
    assert wait_before(attempt, Random(1), first_s=first_s, cap_s=cap_s).total_seconds() <= cap_s + 1e-6


@pytest.mark.parametrize(("attempt", "ceiling_s"), [(1, 5), (2, 10), (3, 20), (9, 1280), (10, 1800)])
def test_the_wait_doubles_until_the_cap(attempt: int, ceiling_s: float) -> None:
    random = Random(7)
    waits = [wait_before(attempt, random).total_seconds() for _ in range(2000)]
    assert ceiling_s / 2 <= min(waits) < 0.51 * ceiling_s
    assert 0.99 * ceiling_s < max(waits) <= ceiling_s


def test_waits_of_one_attempt_differ() -> None:
    random = Random(7)
    assert len({wait_before(3, random) for _ in range(100)}) > 90
