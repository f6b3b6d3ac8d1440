"""Print the effective settings, each with where it came from; secrets are not shown."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sqlalchemy.engine import make_url

from worker import settings

HIDDEN = "***"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of form."""
    parser.add_argument("--json", action="store_true", help="one JSON object: key to value and source")


def run(options: argparse.Namespace) -> int:
    """Print each key, its value and its source."""
    loaded = settings.load(os.environ)
    rows = [
        (key, _shown(key, value), loaded.sources.get(key, "default")) for key, value in _flat(loaded.settings)
    ]
    if options.json:
        json.dump(
            {key: {"value": value, "source": source} for key, value, source in rows}, sys.stdout, indent=2
        )
        print()
        return 0
    width = max(len(key) for key, _, _ in rows)
    for key, value, source in rows:
        print(f"{key:<{width}}  {json.dumps(value)}  # {source}")
    return 0


def _flat(current: settings.Settings) -> list[tuple[str, Any]]:
    return list(_pairs(current.model_dump(mode="json")))


def _pairs(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", shown) for inner, shown in _pairs(value))
        else:
            yield key, value


def _shown(key: str, value: Any) -> Any:
    """URLs can hold a password, before the host or in the query: it is replaced."""
    if not key.endswith("_url") or not value:
        return value
    url = make_url(value)
    secrets = {name: HIDDEN for name in url.query if "passw" in name.lower()}
    shown = url.update_query_dict(secrets).render_as_string(hide_password=True)
    return shown.replace(quote(HIDDEN, safe=""), HIDDEN)
