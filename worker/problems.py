"""What is wrong with a setting, in words: its key, where it came from, what was expected and what came."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

TABLES = ("sender", "destination")
"""Keys that are lists of tables in the file."""
AE_TITLE = "1 to 16 printable characters without backslash, no space at the ends"
OF_KEYS = {
    "aet": AE_TITLE,
    "calling_aet": AE_TITLE,
    "port": "a whole number from 1 to 65535",
    "name": "letters, digits, dots, hyphens and underscores, at most 64",
}
"""What is expected of a key whatever is wrong with it."""
OF_PROBLEMS = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text in quotes",
    "path_type": "a path in quotes",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_short": "at least {min_length} character",
    "string_too_long": "at most {max_length} characters",
    "tuple_type": "tables written [[{table}]]",
    "model_type": "a table written {written}",
    "missing": "a value",
}
"""What is expected by a problem's type (pydantic, "Validation Errors")."""
SECRET_ENDING = "_url"
LONGEST_VALUE = 64


def in_words(problem: ErrorDetails, sources: Mapping[str, str]) -> str:
    """Return one line about one problem.

    Parameters
    ----------
    problem
        As pydantic tells it; the values of URLs are not repeated, they may hold a password.
    sources
        Dotted key → where it came from.
    """
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts)
    source = next(
        (sources[known] for known in (key, *sources) if _belongs(key, known, sources)), "the settings"
    )
    place = f"{key or 'settings'} (from {source})"
    if problem["type"] == "extra_forbidden":
        return f"{place}: no such setting; `cxr-worker config` lists all"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    came = "" if key.endswith(SECRET_ENDING) else f", came {_shown(problem)}"
    return f"{place}: expected {_expected(problem, parts)}{came}"


def _belongs(key: str, known: str, sources: Mapping[str, str]) -> bool:
    """Whether what is known of one key says where the other came from: the same, above or below it."""
    return known in sources and (known == key or key.startswith(f"{known}.") or known.startswith(f"{key}."))


def _expected(problem: ErrorDetails, parts: list[str]) -> str:
    structural = ("missing", "model_type")
    if parts and parts[-1] in OF_KEYS and problem["type"] not in structural:
        return OF_KEYS[parts[-1]]
    table = next(iter(parts), "")
    written = f"[[{table}]]" if table in TABLES else f"[{table}]"
    words = OF_PROBLEMS.get(problem["type"])
    # A type that is not listed still has pydantic's own words.
    return words.format(**problem.get("ctx", {}), table=table, written=written) if words else problem["msg"]


def _shown(problem: ErrorDetails) -> str:
    value: Any = problem["input"]
    if problem["type"] == "missing":
        return "none"
    if isinstance(value, dict | list | tuple):
        return "a table" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
