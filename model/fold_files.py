"""Evaluations of one model each become a summary: figures per fold or family, their mean, and a report."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Picture

from model import plots
from model.bootstrap import Figure, to_json
from model.evaluation_sets import REST, SUFFIXES
from model.figures_csv import Row, write_figures
from model.fold_details import (
    CLASSES,
    apart,
    class_details,
    fold_curves,
    model_details,
    overlap,
    question_details,
    questions,
    summarise_question,
)
from model.fold_figures import FoldSummary
from model.fold_html import write_folds_html
from model.fold_reading import read_fold_evaluations

SUM = "sum of counts: each fold at its own threshold"
CLASS_SUM = "sum of counts over folds"
"""Titles of the matrices that add those of the folds."""


def summarise(folders: Sequence[Path]) -> dict[str, FoldSummary]:
    """Return the summary of each question; a fold without films of the question takes no part in it.

    Folds are told apart by the paths of their folders. Patients are those of one manifest, numbered over
    the whole of it.
    """
    asked = questions(read_fold_evaluations(folders))
    return {question: summarise_question(parts, question) for question, parts in asked.items()}


def measure_folds(folders: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``metrics.json`` holds, means by name and each fold in ``details``, and the curves.

    Raises
    ------
    FileNotFoundError, ValueError
        If a folder does not hold what `model.evaluate` writes, is given twice, or models call other classes.
    """
    folds = read_fold_evaluations(folders)
    flat: dict[str, Figure] = {}
    details: dict[str, Any] = {"note": plots.NOTE, "classes": class_details(folds)}
    details |= {"models": {fold.name: model_details(fold) for fold in folds}, "overlap": overlap(folds)}
    curves = {}
    for question, asked in questions(folds).items():
        summary = summarise_question(asked, question)
        flat |= {f"{name}{SUFFIXES[question]}": figure for name, figure in summary.mean.items()}
        details[question] = question_details(asked, summary)
        curves[question] = fold_curves(asked)
    report: dict[str, Any] = to_json(flat)
    if details["classes"]:
        report |= {f"class_{name}": figure for name, figure in details["classes"]["mean"].items()}
    return report | {"details": details}, curves


def write_fold_summary(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Sum up by `measure_folds`, write everything, and return what ``metrics.json`` holds.

    `out` then holds ``report.html``, ``metrics.json``, ``metrics.csv``, ``curves.json`` and the pictures.
    Each curve is that of one fold; predictions stay with their folds, for scores of different models have
    no common scale.
    """
    report, curves = measure_folds(folders)
    out.mkdir(parents=True, exist_ok=True)
    for name, values in (("metrics", report), ("curves", curves)):
        (out / f"{name}.json").write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
    write_figures(out / "metrics.csv", rows(report["details"]))
    pictures = draw(report["details"], curves)
    for name, picture in pictures.items():
        (out / f"{name}.png").write_bytes(plots.as_png(picture))
    inline = {name: plots.as_data_address(picture) for name, picture in pictures.items()}
    write_folds_html(out / "report.html", report, inline)
    return report


def rows(details: dict[str, Any]) -> Iterator[Row]:
    """Return the figures of each question, and of the classes, as rows: the mean first, then each fold."""
    for name in (*SUFFIXES, CLASSES):
        if details.get(name):
            for fold, figures in {"mean": details[name]["mean"], **details[name]["folds"]}.items():
                yield from ((name, fold, key, figure) for key, figure in figures.items())


def draw(details: dict[str, Any], curves: dict[str, dict[str, Any]]) -> dict[str, Picture]:
    """Return the pictures by name, those of a question with its suffix; one curve or panel for each fold."""
    pictures = {}
    for question in apart(details):
        found, suffix = details[question], SUFFIXES[question]
        matrices = {name: counted["confusion_matrix"] for name, counted in found["counts"].items()}
        matrices[SUM] = found["confusion_matrix_sum"]
        pictures[f"confusion_matrix{suffix}"] = plots.plot_confusion(matrices)
        if drawn := curves[question]:
            text = {
                figure: {name: str(Figure(**figures[figure])) for name, figures in found["folds"].items()}
                for figure in ("roc_auc", "pr_auc", "ece")
            }
            pictures[f"roc{suffix}"] = plots.plot_roc(drawn, text["roc_auc"])
            pictures[f"precision_recall{suffix}"] = plots.plot_precision_recall(drawn, text["pr_auc"])
            if question == REST:
                pictures["reliability"] = plots.plot_reliability_apart(drawn, text["ece"], "ECE")
    if classes := details["classes"]:
        matrices = {**classes["confusion_matrices"], CLASS_SUM: classes["confusion_matrix_sum"]}
        pictures["classes"] = plots.plot_confusion(matrices, classes["names"], classes["names"])
    return pictures


def print_folds(report: dict[str, Any]) -> None:
    """Print the area of each fold and the mean, question by question."""
    for question in SUFFIXES:
        if question in report["details"]:
            summary = report["details"][question]
            for name, figures in summary["folds"].items():
                print(
                    f"{question}, {name}: AUC {Figure(**figures['roc_auc'])}, {figures['roc_auc']['n']} films"
                )
            mean = summary["mean"]["roc_auc"]
            print(f"{question}, mean: AUC {Figure(**mean)}")
            print(f"  {mean['method']}")
    if classes := report["details"]["classes"]:
        for name, figures in classes["folds"].items():
            print(
                f"classes, {name}: accuracy {Figure(**figures['accuracy'])}, {classes['films'][name]} films"
            )
        print(f"classes, mean: accuracy {Figure(**report['class_accuracy'])}")
    print(report["details"]["note"])
