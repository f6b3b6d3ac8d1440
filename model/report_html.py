"""One page that holds a whole evaluation, pictures included, and loads nothing from elsewhere."""

from pathlib import Path
from typing import Any

from model.audit_html import audit_section
from model.evaluation_sets import AGAINST_DISEASE, AGAINST_NORMAL, QUESTIONS, REST, ROLES
from model.set_report import FEWEST
from model.templates import template

FIGURES = (
    ("roc_auc", "ROC AUC"),
    ("pr_auc", "PR AUC (average precision)"),
    ("accuracy", "Accuracy"),
    ("balanced_accuracy", "Balanced accuracy"),
    ("sensitivity", "Sensitivity (recall)"),
    ("specificity", "Specificity"),
    ("precision", "Precision (PPV)"),
    ("npv", "Negative predictive value"),
    ("f1", "F1"),
    ("mcc", "Matthews correlation"),
    ("brier", "Brier score"),
    ("ece", "ECE, 15 bins of equal mass"),
    ("abstain_rate", "Left open"),
    ("error_among_judged", "Error among judged"),
)
CURVES = (
    ("roc", "ROC curves, with the area and its 95 % interval"),
    ("precision_recall", "Precision and recall, with the average precision; the tick at the right is chance"),
)
PROBABILITIES = (
    (
        "reliability",
        "Share of COVID-19 in bins of equal numbers of films, with exact binomial intervals, and the ECE",
    ),
    ("decision_curve", "Net benefit of acting on the model, beside treating all and treating none"),
)
CARDS = (
    ("ROC AUC: COVID-19 against the rest", REST, "roc_auc"),
    ("ROC AUC: against normal", AGAINST_NORMAL, "roc_auc"),
    ("ROC AUC: against other disease", AGAINST_DISEASE, "roc_auc"),
    ("Sensitivity at the threshold", REST, "sensitivity"),
    ("Specificity at the threshold", REST, "specificity"),
    ("Calibration error (ECE)", REST, "ece"),
    ("Left open (indeterminate)", REST, "abstain_rate"),
    ("Error among judged films", REST, "error_among_judged"),
)
MOST_ABSTAINED = 0.2


def write_report_html(
    path: Path, report: dict[str, Any], pictures: dict[str, str], errors: dict[str, list[Any]] | None
) -> None:
    """Write the page.

    Parameters
    ----------
    path
        The file.
    report
        What ``metrics.json`` holds.
    pictures
        Each picture as an address that holds its data.
    errors
        Films judged worst, as ``missed`` and ``alarmed``; None shows none.
    """
    page = template("evaluation.html.j2")
    path.write_text(page.render(context(report), pictures=pictures, errors=errors), "utf-8")


def context(report: dict[str, Any]) -> dict[str, Any]:
    """Return what the page says, in the order in which it says it."""
    details = report["details"]
    sets = [
        {"name": name, "smaller_class": min(values["covid"], values["films"] - values["covid"]), **values}
        for name, values in details["sets"].items()
    ]
    by_name = {row["name"]: row for row in sets}
    everything = by_name[REST]
    kinds = {
        kind: [row for row in sets if row["kind"] == kind] for kind in ("question", "source", "view", "role")
    }
    comparison = details.get("comparison")
    audited = details.get("audit")
    return {
        "title": f"{details['model']['name']} {details['model']['version']}",
        "details": details,
        "films": everything["films"],
        "covid": everything["covid"],
        "units": everything["units"],
        "warnings": warnings(by_name) + (audited["red"] if audited else []),
        "audit": audit_section(report | {"details": audited}) if audited else "",
        "cards": [
            {"name": name, "figure": by_name[question]["metrics"][key]}
            for name, question, key in CARDS
            if question in by_name
        ],
        "questions": kinds["question"],
        "figure_names": FIGURES,
        "undefined": undefined(everything),
        "heads": details["heads"],
        "classes": details["classes"],
        "curve_texts": CURVES,
        "probability_texts": PROBABILITIES,
        "fewest": FEWEST,
        "sources": kinds["source"],
        "views": kinds["view"],
        "calibration": [everything, *kinds["role"]],
        "abstention": [everything, *kinds["role"], *[row for row in kinds["source"] if REST in row["name"]]],
        "comparison": comparison,
        "comparison_method": _method(comparison),
        "limits": limits(details, everything),
    }


def _method(comparison: dict[str, Any] | None) -> str:
    figures = comparison["figures"] if comparison else {}
    return next((str(row["difference"]["method"]) for row in figures.values()), "")


def undefined(row: dict[str, Any]) -> list[str]:
    """Return, for each reason, which figures are not defined for it."""
    reasons: dict[str, list[str]] = {}
    for key, name in FIGURES:
        if row["metrics"][key]["value"] is None:
            reasons.setdefault(row["metrics"][key]["method"], []).append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def warnings(by_name: dict[str, dict[str, Any]]) -> list[str]:
    """Return what a reader must not overlook, in full sentences."""
    found = []
    asked = [name for name in (REST, *QUESTIONS) if name in by_name]
    for name in asked:
        area = by_name[name]["metrics"]["roc_auc"]
        if area["high"] is not None and area["high"] < 0.5:
            found.append(f"{name}: the ROC AUC lies below chance, {area['low']:.3f} to {area['high']:.3f}.")
    mixed = [name for name in asked if by_name[name]["classes_from_different_sources"]]
    if mixed:
        found.append(
            f"Films with and without COVID-19 come from different places ({'; '.join(mixed)}). These figures "
            "may measure where a film was taken rather than the disease; so may those of a source that is "
            "marked: it was put together from several."
        )
    everything = by_name[REST]
    if everything["metrics"]["roc_auc"]["value"] is None:
        found.append(f"{REST}: most figures are {everything['metrics']['roc_auc']['method']}.")
    elif everything["too_few"]:
        found.append(f"A class has fewer than {FEWEST} films: no figure here says much.")
    open_share = everything["metrics"]["abstain_rate"]["value"]
    if open_share > MOST_ABSTAINED:
        found.append(f"The model leaves {open_share:.0%} of the films open, more than {MOST_ABSTAINED:.0%}.")
    if "too narrow" in everything["metrics"]["abstain_rate"]["method"]:
        found.append("Not every film names its patient: the intervals are too narrow.")
    return found


def _elsewhere(films: int, of: int) -> str:
    if not films:
        return (
            f"None of the {of} films comes from a family that neither trained nor calibrated the model: they "
            "say nothing certain of other places."
        )
    return (
        f"{films} of the {of} films come from families that neither trained nor calibrated the model; only "
        "they say something of other places, and only of places like theirs."
    )


def limits(details: dict[str, Any], everything: dict[str, Any]) -> list[str]:
    """Return what the figures do not show, in full sentences."""
    unseen = details["sets"].get(ROLES["unseen"])
    share = everything["covid"] / everything["films"]
    return [
        "They do not show how the model does at a hospital that gave none of these films. Neither its error "
        "nor its share of films left open is guaranteed there.",
        _elsewhere(unseen["films"] if unseen else 0, everything["films"]),
        "An interval tells what other patients of the same sources would change. It leaves out what another "
        "training run, other labels or another hospital would change.",
        "Labels are those of the manifest. Nobody read the films anew for this report, and no film was "
        "compared with a laboratory test or a radiologist's reading.",
        f"Precision, negative predictive value and net benefit hold where {share:.0%} have COVID-19, as "
        "here. In most places fewer have it: precision is lower there.",
        "Age, sex, ethnicity, maker of the device and severity are not considered.",
        "The model reads one frontal film of an adult. Films that the manifest marks as laterals or of "
        "children are left out; unmarked ones are not noticed here.",
        "They do not show that anybody is helped by the model. It is for research and teaching only.",
    ]
