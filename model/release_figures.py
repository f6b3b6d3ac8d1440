"""The figures of a release: which it must have, where each comes from, and how they are joined."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.bootstrap import Figure
from model.studies import STUDIES, WANTED

Figures = dict[str, dict[str, Any]]

FIELDS = {field.name for field in dataclasses.fields(Figure)}
EVALUATE = "python -m model.evaluate --model RUN/model --data MANIFEST --out RUN/report"
MAKE_GATE = "python -m model.gate --model RUN/model --data MANIFEST --gate PICTURES --out GATE"
REPRODUCE = "python -m model.reproduce --data MANIFEST --out STUDIES"
REQUIRED: Mapping[str, str] = {
    "darkcovidnet_binary_accuracy": REPRODUCE,
    "darkcovidnet_binary_accuracy_grouped": REPRODUCE,
    "darkcovidnet_three_class_accuracy": REPRODUCE,
    "darkcovidnet_three_class_accuracy_grouped": REPRODUCE,
    "held_out_cohen_auc": REPRODUCE,
    "within_cohen_auc": REPRODUCE,
    "within_cohen_auc_covid_head": REPRODUCE,
    "held_out_radiography_auc": EVALUATE,
    "held_out_hannover_sensitivity": EVALUATE,
    "ece": EVALUATE,
    "ece_out_of_family": REPRODUCE,
    "abstain_rate": EVALUATE,
    "gate_false_refusal_rate": MAKE_GATE,
    "gate_lateral_sensitivity": MAKE_GATE,
    "gate_non_chest_sensitivity": MAKE_GATE,
    "gate_child_sensitivity": MAKE_GATE,
}
"""The figures that a release must have, each with the command that makes it."""

HELD_OUT = {
    "held_out_radiography_auc": "films that did not calibrate; its normal films are the NIH's, as rsna's are",
    "held_out_hannover_sensitivity": "at the model's own threshold; radiography has films of that place too",
}
"""Figures of `WANTED` that an evaluation holds too, of families that trained nothing: what to say of each."""

YIELDING = (*HELD_OUT, "ece_out_of_family")
"""Figures of an evaluation that give way to a study's, which trains anew without the family."""


def read_figures(path: Path, command: str) -> Figures:
    """Return figures by name, and ``details``, as a file holds them.

    Parameters
    ----------
    path
        The file.
    command
        The command that makes such a file, for the error.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected what this makes: {command}")
    try:
        report = json.loads(path.read_text())
        strange = [name for name, figure in _flat(report).items() if set(figure) != FIELDS]
        whole = isinstance(report["details"], dict)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected figures by name and details, made by: {command}") from error
    if strange or not whole:
        came = f"came {strange[:3]} without some of them" if strange else "came no details"
        raise ValueError(f"{path}: expected {sorted(FIELDS)} of each figure, {came}; made by: {command}")
    found: Figures = report
    return found


def _flat(report: Mapping[str, Any]) -> Figures:
    return {name: figure for name, figure in report.items() if name != "details"}


def held_out(evaluation: Mapping[str, Any]) -> Figures:
    """Return the figures of `HELD_OUT` that an evaluation of the model's test films holds.

    Parameters
    ----------
    evaluation
        What `model.evaluate` wrote.
    """
    details = evaluation["details"]
    found: Figures = {}
    for name, remark in HELD_OUT.items():
        wanted = WANTED[name]
        chosen = details["sets"].get(f"{wanted.source}: {wanted.question}")
        # A source that trained is no longer held out, whatever its figure is.
        if chosen is not None and wanted.source in details["held_out_sources"]:
            figure = chosen["metrics"][wanted.metric]
            found[name] = figure | {"method": f"{wanted.source} held out, {remark}; {figure['method']}"}
    return found


def of_release(evaluation: Mapping[str, Any]) -> Figures:
    """Return the figures that a release takes from an evaluation.

    Its ``ece`` is the one in source, beside ``ece_out_of_family``: of all films together it would measure
    how the shares of COVID-19 in the sources were mixed.
    """
    found = _flat(evaluation)
    return found | ({"ece": found["ece_in_source"]} if "ece_in_source" in found else {})


def join(
    evaluation: Mapping[str, Any],
    gate: Mapping[str, Any],
    audit: Mapping[str, Any],
    studies: Mapping[str, Any] | None,
) -> Figures:
    """Return every figure of a release by its name, and their ``details``.

    Parameters
    ----------
    evaluation, audit
        What `model.evaluate` and `model.audit` wrote of the released weights.
    gate
        What ``gate.json`` holds.
    studies
        What `model.reproduce` wrote; None has none.

    Raises
    ------
    ValueError
        If two of them hold different figures of one name.

    Notes
    -----
    A figure that one part cannot define, as the calibration error of films of one class, another may give.
    """
    figures: Figures = {}
    studied = {name: _told(name, figure) for name, figure in _flat(studies or {}).items()}
    evaluated = of_release(evaluation) | held_out(evaluation)
    parts = {
        "evaluation": {
            name: values
            for name, values in evaluated.items()
            if not (name in YIELDING and is_defined(studied, name))
        },
        "gate": gate["figures"],
        "audit": _flat(audit),
        "studies": studied,
    }
    for part, found in parts.items():
        told = {name: values for name, values in found.items() if values["value"] is not None}
        twice = [name for name in told if is_defined(figures, name) and figures[name] != told[name]]
        if twice:
            raise ValueError(
                f"expected each figure from one file, came another {twice[0]} with the {part}: "
                "make evaluation, audit and studies anew, each by its own command"
            )
        figures = found | figures | told
    about = {name: value for name, value in gate.items() if name not in ("figures", "rules", "rules_sha256")}
    joined = {"audit": audit["details"], "gate": about, "studies": (studies or {}).get("details", {})}
    lacking = {name: REQUIRED[name] for name in missing(figures)}
    return {**figures, "details": {**evaluation["details"], **joined, "missing": lacking}}


def _told(name: str, figure: Mapping[str, Any]) -> dict[str, Any]:
    # Beside figures of the released weights a study's must not pass for one of them.
    if name not in WANTED or figure["value"] is None:
        return dict(figure)
    return {**figure, "method": f"{STUDIES[WANTED[name].study].models}; {figure['method']}"}


def missing(figures: Mapping[str, Any]) -> list[str]:
    """Return the names in `REQUIRED` that have no figure, or one that is not defined."""
    return [name for name in REQUIRED if not is_defined(figures, name)]


def is_defined(figures: Mapping[str, Any], name: str) -> bool:
    """Return whether there is such a figure, and a value to it."""
    return name in figures and figures[name]["value"] is not None
