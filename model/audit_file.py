"""``audit.json``, as `model.audit` leaves it for the evaluation of the same weights."""

import json
from pathlib import Path
from typing import Any


def read_audit(path: Path, weights_sha256: str) -> dict[str, Any]:
    """Return what an ``audit.json`` holds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no audit, or one of other weights.
    """
    try:
        report: dict[str, Any] = json.loads(path.read_text())
        audited = report["details"]["weights_sha256"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name}: expected the audit.json of model.audit") from error
    if audited != weights_sha256:
        raise ValueError(
            f"{path.name}: expected an audit of the weights {weights_sha256}, came one of {audited}; "
            "run model.audit for this model"
        )
    return report
