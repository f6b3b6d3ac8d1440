"""A network of one's own is entered from its Python file, by the option that commands share."""

import runpy
from pathlib import Path
from typing import Any

OPTION: dict[str, Any] = {
    "type": Path,
    "metavar": "FILE",
    "help": "Python file of one's own network, which is run: see docs/own-network.md",
}
"""Of ``--network-file``, for `argparse.ArgumentParser.add_argument`."""


def enter(file: Path | None) -> None:
    """Run the file of one's own network, which puts it into the registry; None does nothing.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If another network has its name.
    """
    if file is not None:
        runpy.run_path(str(file))
