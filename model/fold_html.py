"""One page that holds the summary of several folds, pictures included, and loads nothing from elsewhere."""

from collections import Counter
from pathlib import Path
from typing import Any

from model.evaluation_sets import REST, SUFFIXES
from model.fold_details import apart
from model.report_html import FIGURES, undefined
from model.set_report import FEWEST
from model.templates import template

CARDS = (
    ("Accuracy at each fold's threshold", "accuracy"),
    ("Sensitivity at each fold's threshold", "sensitivity"),
    ("Specificity at each fold's threshold", "specificity"),
    ("Calibration error (ECE)", "ece"),
)
"""Figures of everything that stand at the top, behind the area of each question."""
LEFT_OPEN = ("Left open (indeterminate)", "abstain_rate")
CLASS_FIGURES = (
    ("accuracy", "Accuracy"),
    ("balanced_accuracy", "Balanced accuracy"),
    ("macro_f1", "Macro F1"),
)
PICTURES = (
    ("roc", "ROC curves, one for each fold, with its area and 95 % interval. No curve joins the folds."),
    (
        "precision_recall",
        "Precision and recall, one curve for each fold, with its average precision; ticks at the right are "
        "chance.",
    ),
)
MIXED = "classes_from_different_sources"
LIMITS = (
    "They do not show how one model does: each fold has its own, and none of them need be the one that is "
    "used.",
    "They do not show how a model does at a hospital that gave none of these films, unless the folds are "
    "families held out, and then only at places like those.",
    "An interval tells what other patients of the same sources would change. It leaves out what another "
    "training run, other labels, other folds or another hospital would change.",
    "The models of k folds share most of their training films: that the folds agree is no proof that "
    "another training would.",
    "Labels are those of the manifest, and no film was compared with a laboratory test or read anew.",
    "Precision, negative predictive value and PR AUC hold at each fold's own share of COVID-19. In most "
    "places fewer have it: precision is lower there.",
    "They do not show that anybody is helped by a model. It is for research and teaching only.",
)
"""What the figures do not show, in full sentences."""


def write_folds_html(path: Path, report: dict[str, Any], pictures: dict[str, str]) -> None:
    """Write the page.

    Parameters
    ----------
    path
        The file.
    report
        What ``metrics.json`` of the summary holds.
    pictures
        Each picture as an address that holds its data.
    """
    path.write_text(template("folds.html.j2").render(context(report), pictures=pictures), "utf-8")


def context(report: dict[str, Any]) -> dict[str, Any]:
    """Return what the template shows."""
    details = report["details"]
    everything = details[REST]
    shown = apart(details)
    cards = [(f"ROC AUC: {name}", report[f"roc_auc{SUFFIXES[name]}"]) for name in shown]
    cards += [(name, report[key]) for name, key in CARDS]
    if open_films(details):
        cards.append((LEFT_OPEN[0], report[LEFT_OPEN[1]]))
    if details["classes"]:
        cards.append(("Accuracy of the classes", report["class_accuracy"]))
    return {
        "note": details["note"],
        "models": details["models"],
        "everything": everything,
        "warnings": warnings(details),
        "cards": [{"name": name, "figure": figure} for name, figure in cards],
        "questions": [{"name": name, "suffix": SUFFIXES[name], **details[name]} for name in shown],
        "same": [name for name in SUFFIXES if name in details and name not in shown],
        "figure_names": FIGURES,
        "undefined": {name: undefined({"metrics": figures}) for name, figures in everything["folds"].items()},
        "classes": details["classes"],
        "class_figures": CLASS_FIGURES,
        "picture_texts": PICTURES,
        "left_open": open_films(details),
        "fewest": FEWEST,
        "limits": LIMITS,
    }


def open_films(details: dict[str, Any]) -> bool:
    """Return whether a model has a band in which it leaves films open, or left one open."""
    bands = [(model["band_low"], model["band_high"]) for model in details["models"].values()]
    return any(low is not None and low < high for low, high in bands) or any(
        counted["left_open"] for counted in details[REST]["counts"].values()
    )


def warnings(details: dict[str, Any]) -> list[str]:
    """Return what a reader must not overlook, in full sentences."""
    found, models, everything = [], details["models"], details[REST]
    area = everything["mean"]["roc_auc"]
    if area["high"] is not None and area["high"] < 0.5:
        found.append(f"The mean ROC AUC lies below chance, {area['low']:.3f} to {area['high']:.3f}.")
    mixed = [name for name, counted in everything["counts"].items() if counted[MIXED]]
    if mixed:
        found.append(
            f"Films with and without COVID-19 come from different places in {', '.join(mixed)}. These "
            "figures may measure where a film was taken rather than the disease."
        )
    few = [name for name, counted in everything["counts"].items() if counted["too_few"]]
    if few:
        found.append(
            f"A class has fewer than {FEWEST} films in {', '.join(few)}: these figures say little, and no "
            "curve is drawn of them."
        )
    if details["overlap"]["films"]:
        found.append(
            f"{details['overlap']['films']} films were scored in more than one fold: folds part the films."
        )
    elif details["overlap"]["units"]:
        found.append(
            f"{details['overlap']['units']} patients or groups have films in more than one fold: a model may "
            "have learned from other films of those whom it was tested on."
        )
    if len({model["data_sha256"] for model in models.values()} - {None}) > 1:
        found.append(
            "The folds were evaluated on different manifests: patients were not matched, and no count or "
            "interval over folds can be relied on."
        )
    times = Counter(model["weights_sha256"] for model in models.values() if model["weights_sha256"])
    if any(count > 1 for count in times.values()):
        alike = [name for name, model in models.items() if times[model["weights_sha256"]] > 1]
        found.append(f"The same weights judged {', '.join(alike)}: these are no folds, each with its model.")
    if "too narrow" in everything["mean"]["brier"]["method"]:
        found.append("Not every film names its patient: the intervals are too narrow.")
    return found
