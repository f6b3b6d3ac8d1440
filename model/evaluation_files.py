"""What an evaluation leaves in its folder: figures, predictions, curves, pictures and the report."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Picture

from model import plots
from model.bootstrap import Figure
from model.evaluation_sets import REST, ROLES, SUFFIXES
from model.gallery import worst, worst_error
from model.predictions import write_predictions
from model.report_html import write_report_html
from model.set_report import Evaluated, sets_to_show


def write_files(
    out: Path, report: dict[str, Any], curves: dict[str, Any], evaluated: Evaluated, films: Path | None
) -> None:
    """Write everything; `films` is the folder of the films for the gallery, None leaves them out."""
    for name, values in (("metrics", report), ("curves", curves)):
        (out / f"{name}.json").write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
    heads = dict(zip(evaluated.model.config.head_names, evaluated.logits_NK.T, strict=True))
    write_predictions(out / "predictions.csv", evaluated.predictions, heads)
    pictures = draw(report["details"]["sets"], curves)
    for name, picture in pictures.items():
        (out / f"{name}.png").write_bytes(plots.as_png(picture))
    errors = None if films is None else worst_errors(evaluated, films)
    inline = {name: plots.as_data_address(picture) for name, picture in pictures.items()}
    write_report_html(out / "report.html", report, inline, errors)


def draw(sets: dict[str, dict[str, Any]], curves: dict[str, Any]) -> dict[str, Picture]:
    """Return the pictures by name; curves need films of both classes."""
    chosen = sets_to_show(sets)
    matrices = {name: sets[name]["confusion_matrix"] for name in chosen}
    pictures = {"confusion_matrix": plots.plot_confusion(matrices)}
    drawn = plots.shown(chosen, curves)
    if drawn:
        pictures["roc"] = plots.plot_roc(drawn, labels(sets, "roc_auc"))
        pictures["precision_recall"] = plots.plot_precision_recall(drawn, labels(sets, "pr_auc"))
    roles = plots.shown([REST, *ROLES.values()], curves)
    if roles:
        pictures["reliability"] = plots.plot_reliability(roles, labels(sets, "ece"))
    if REST in curves:
        pictures["decision_curve"] = plots.plot_net_benefit(REST, curves[REST])
    return pictures


def labels(sets: dict[str, dict[str, Any]], figure: str) -> dict[str, str]:
    """Return one figure of each set with its interval, as text."""
    return {name: str(Figure(**values["metrics"][figure])) for name, values in sets.items()}


def worst_errors(evaluated: Evaluated, folder: Path) -> dict[str, list[Any]]:
    """Return the worst errors of both kinds with their pictures."""
    said = evaluated.predictions
    missed, alarmed = worst(evaluated.scored)

    def shown(rows: list[int]) -> list[Any]:
        return [
            worst_error(
                folder, (said.path[row], said.label[row], said.source[row]), float(said.probability_N[row])
            )
            for row in rows
        ]

    return {"missed": shown(missed), "alarmed": shown(alarmed)}


def print_figures(report: dict[str, Any]) -> None:
    """Print the main figures of each set, why a main figure is not defined, and the note."""
    details = report["details"]
    for name, values in details["sets"].items():
        mixed = " [classes from different places]" if values["classes_from_different_sources"] else ""
        counts = f"{values['films']} films, {values['covid']} COVID-19"
        print(f"{name}{mixed}: {counts}, {values['units']} patients or groups")
        found = {key: str(Figure(**figure)) for key, figure in values["metrics"].items()}
        rates = f"sensitivity {found['sensitivity']}, specificity {found['specificity']}"
        print(f"  AUC {found['roc_auc']}, {rates}")
    for name, values in details["heads"].items():
        print(f"head {name}: {values['films']} films, AUC {Figure(**values['metrics']['roc_auc'])}")
    undefined = [
        name for name in SUFFIXES.values() if report.get(f"roc_auc{name}", {}).get("value", 0) is None
    ]
    for suffix in undefined:
        print(f"AUC{suffix.replace('_', ' ')}: {report[f'roc_auc{suffix}']['method']}")
    print(details["note"])
