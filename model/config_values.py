"""Whether the values of a configuration file are of the types that its dataclasses name, told in words."""

import dataclasses
from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}
"""What JSON calls the plain types."""


def check_values(kind: type, values: Mapping[str, Any], where: str) -> None:
    """Refuse values that do not make the dataclass: a key is missing, or a value is of another type.

    Parameters
    ----------
    kind
        The dataclass.
    values
        Its known keys; lists of JSON are tuples already, and parts are built.
    where
        The part of the configuration, as messages name it.

    Raises
    ------
    ValueError
        Naming the key, what it should hold, and what came.
    """
    types = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        wanted = types[item.name]
        if item.name not in values:
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                raise ValueError(
                    f"{where}: the key {item.name!r} is missing, expected {_in_words(wanted)}; "
                    f"came {sorted(values)}"
                )
        elif not _fits(values[item.name], wanted):
            raise ValueError(
                f"{where}: {item.name} should be {_in_words(wanted)}, came {values[item.name]!r}"
            )


def _fits(value: object, wanted: Any) -> bool:
    kind, inner = get_origin(wanted), get_args(wanted)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is tuple:
        return isinstance(value, tuple) and all(_fits(one, inner[0]) for one in value)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(_fits(one, inner[1]) for one in value.values())
    if isinstance(value, bool):
        # Python counts True as a number.
        return wanted is bool
    return isinstance(value, int | float if wanted is float else wanted)


def _in_words(wanted: Any) -> str:
    kind, inner = get_origin(wanted), get_args(wanted)
    if kind in (Union, UnionType):
        return " or ".join(_in_words(one) for one in inner)
    if kind is tuple:
        return f"a list of {_in_words(inner[0])}"
    if kind is Mapping:
        return f"an object whose values are {_in_words(inner[1])}"
    return WORDS.get(wanted, "an object")
