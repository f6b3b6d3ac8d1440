"""What commands of this package share at their edge: options, and the end on a mistake in one line."""

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


def count(text: str) -> int:
    """Return a whole number above 0, as an option of a command is read.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is no such number.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, came {text!r}")
    return number
