"""The log of every part: a line each, and nothing of what was in the hands of the code that failed."""

import logging
import sys

from worker.logs import OneLine


def test_an_exception_is_one_line_with_its_class_and_place_and_without_its_text() -> None:
    try:
        raise ValueError("DOE^JOHN")
    except ValueError:
        failed = sys.exc_info()
    record = logging.LogRecord("part", logging.ERROR, __file__, 1, "could not\nwork", None, failed)
    line = OneLine().format(record)
    assert line.endswith("ERROR part: could not work (ValueError at test_logs.py:11)")
    assert "DOE" not in line
