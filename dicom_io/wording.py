"""Header text made comparable, and what of it may be repeated in a refusal."""

import re
import unicodedata

from pydicom import Dataset

from dicom_io.headers import read_items, read_text

OTHER = "something else"
"""Stands for foreign text that may hold a name, or worse."""


def plain(text: str | None) -> str:
    """Return upper case without accents and outer blanks, underscores as blanks, for comparison."""
    decomposed = unicodedata.normalize("NFKD", text or "")
    kept = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", kept).upper().replace("_", " ").strip()


def repeatable(text: str | None, pattern: re.Pattern[str]) -> str:
    """Return a value that is what its attribute may hold; any other text may be a name, or worse."""
    return text if text and pattern.fullmatch(text) else OTHER


def code_values(dataset: Dataset, keyword: str) -> set[str]:
    """Return the code values of a code sequence's items."""
    return {code for item in read_items(dataset, keyword) if (code := read_text(item, "CodeValue"))}
