"""Where a fault of ours happened, told without what it was about."""

import traceback
from pathlib import Path


def place_of(error: BaseException) -> str:
    """File and line of the innermost frame: a message or a traceback may quote a data set, a place cannot."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "unknown place"
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
