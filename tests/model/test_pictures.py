"""The README shows what the shipped model says, and not what an earlier one said."""

import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_and_its_report_are_of_the_shipped_weights() -> None:
    """After a release: `python docs/images/rebuild.py`, and the two numbers in the README."""
    report = (ROOT / "docs" / "images" / "report.txt").read_text()
    weights = (ROOT / "model" / "release" / "weights.safetensors").read_bytes()
    (shown,) = re.findall(r"weights SHA-256 ([0-9a-f]+)\.\.\.", report)
    assert hashlib.sha256(weights).hexdigest().startswith(shown)

    (said,) = re.findall(r'"Probability of COVID-19"\)="([\d.]+)"', report)
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r'"Probability of COVID-19"\)="([\d.]+)"|positive  ([\d.]+) %', readme) == [
        ("", said),
        (said, ""),
    ]
