"""Libraries: none may tell what is in a data set, and none a line for each message."""

import logging
import warnings
from collections.abc import Iterator

import pytest

from worker import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The handlers and levels of this process are put back, and its warning filters."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with warnings.catch_warnings():
        yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("name", ["celery.worker.request", "celery.worker.strategy", "celery.app.trace"])
def test_celery_does_not_tell_of_each_message(name: str) -> None:
    logging.getLogger(name).setLevel(logging.NOTSET)
    logs.configure("INFO")
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger(name).isEnabledFor(logging.WARNING)
    assert logging.getLogger("worker").isEnabledFor(logging.INFO)


def test_a_warning_that_quotes_a_value_is_not_written_whoever_is_blamed_for_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logs.quieten()
        for level in (1, 2, 3):
            warnings.warn("Invalid value for VR PN: 'GRUEN'", UserWarning, stacklevel=level)
        with pytest.raises(DeprecationWarning):
            warnings.warn("of ours", DeprecationWarning, stacklevel=1)
