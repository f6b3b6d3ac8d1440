"""The shortcut audit as a section of the evaluation's report, and as a page of its own."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from model.templates import template

GROUPS = (
    (
        "Border and centre",
        (
            ("whole_auc", "Whole films"),
            ("border_only_auc", "Border only"),
            ("centre_only_auc", "Centre only"),
            ("whole_within_sources_auc", "Whole films, within sources"),
            ("border_only_within_sources_auc", "Border only, within sources"),
            ("centre_only_within_sources_auc", "Centre only, within sources"),
            ("whole_probe_auc", "Probe of whole films"),
            ("border_only_probe_auc", "Probe of borders"),
            ("whole_probe_within_sources_auc", "Probe of whole films, within sources"),
            ("border_only_probe_within_sources_auc", "Probe of borders, within sources"),
        ),
    ),
    (
        "Letters that are burned in",
        (
            ("corners_masked_auc", "Corners hidden"),
            ("corners_masked_loss", "Loss by hiding the corners"),
            ("letters_against_auc", "Letters set against the truth"),
            ("letters_against_loss", "Loss by letters against the truth"),
            ("letter_effect_auc", "A letter against none"),
        ),
    ),
    ("Labels that mean nothing", (("permuted_labels_auc", "Probe of permuted labels"),)),
    (
        "Source",
        (
            ("source_probe_auc", "Source, from the features"),
            ("source_from_score_auc", "Source, from the score"),
            ("source_guess_auc", "COVID-19, from the predicted source alone"),
            ("within_predicted_source_auc", "COVID-19, within the predicted source"),
            ("against_predicted_source_auc", "COVID-19, against the predicted source"),
            ("held_out_families_auc", "Families held out"),
        ),
    ),
    (
        "Children and adults",
        (
            ("child_from_score_auc", "Children against adults, from the score"),
            ("child_probe_auc", "Children against adults, from the features"),
            ("against_adults_auc", "COVID-19 against adults without"),
            ("against_children_auc", "COVID-19 against children without"),
        ),
    ),
)
"""The rows of the section, in its order."""


def audit_section(report: dict[str, Any]) -> Markup:
    """Return the section; `report` is what ``audit.json`` holds.

    Raises
    ------
    ValueError
        If a figure is missing: the file is of another version or no audit.
    """
    broken = {rule["figure"]: rule["red_if"] for rule in report["details"]["rules"] if rule["red"]}
    stated = {rule["figure"]: rule["red_if"] for rule in report["details"]["rules"]}
    lacking = [name for _, rows in GROUPS for name, _ in rows if f"audit_{name}" not in report]
    if lacking:
        raise ValueError(f"expected the audit.json of model.audit, has no figure {lacking}")
    groups = [
        (
            heading,
            [
                {
                    "name": text,
                    "figure": report[f"audit_{name}"],
                    "rule": stated.get(f"audit_{name}", ""),
                    "red": f"audit_{name}" in broken,
                }
                for name, text in rows
            ],
        )
        for heading, rows in GROUPS
    ]
    section = template("audit.html.j2")
    return Markup(section.render(groups=groups, details=report["details"], rules=len(stated)))


def write_audit_page(path: Path, report: dict[str, Any]) -> None:
    """Write the section as a page that loads nothing from elsewhere."""
    details = report["details"]
    title = f"{details['model']['name']} {details['model']['version']}"
    page = template("audit_page.html.j2")
    path.write_text(page.render(title=title, note=details["note"], section=audit_section(report)), "utf-8")
