"""Comparisons that the gate before storing is made of; each raises InvalidResult with what differs."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_io.errors import InvalidResult


def require_filled(result: Dataset, keywords: Sequence[str]) -> None:
    """Raise InvalidResult unless each attribute has a value (PS3.5 7.4.1, type 1).

    Parameters
    ----------
    result : Dataset
        A result object.
    keywords : Sequence[str]
        Its attributes of type 1.
    """
    for keyword in keywords:
        if keyword not in result or result[keyword].is_empty:
            raise InvalidResult(f"{keyword}: expected a value (type 1), got none")


def require_equal(name: str, got: object, expected: object) -> None:
    """Raise InvalidResult unless both are equal; for values that may be told, not for a patient's.

    Parameters
    ----------
    name : str
        What is compared.
    got : object
        What the result says.
    expected : object
        What it should say.
    """
    if got != expected:
        raise InvalidResult(f"{name}: expected {expected}, got {got}")
