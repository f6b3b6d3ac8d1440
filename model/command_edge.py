"""Where a command of this package ends on a mistake of its user: one line on stderr, no traceback."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_io.errors import CxrError

MISTAKES = (OSError, ValueError, ModuleNotFoundError, CxrError)
"""What wrong arguments and wrong files raise; anything else is a fault of ours, and keeps its traceback."""


@contextmanager
def one_line_errors(parser: argparse.ArgumentParser, if_interrupted: str | None = None) -> Iterator[None]:
    """End the command by what went wrong, in words.

    Parameters
    ----------
    parser
        The command's parser; its name stands before the words.
    if_interrupted
        What becomes of the work on Ctrl-C; None leaves Ctrl-C to Python.

    Raises
    ------
    SystemExit
        With 2 after one of `MISTAKES`, with 130 after Ctrl-C.
    """
    try:
        yield
    except MISTAKES as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        if if_interrupted is None:
            raise
        parser.exit(130, f"{parser.prog}: interrupted; {if_interrupted}\n")
