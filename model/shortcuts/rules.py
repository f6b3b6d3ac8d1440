"""When an audit turns red: one row per rule, stated beside the figure that it reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model.bootstrap import Figure
from model.shortcuts.probes import defined

BORDER_AUC = 0.6
"""From here on borders alone are said to tell the classes."""
LETTER_LOSS = 0.02
LETTER_EFFECT = 0.1
LEAK = 0.05
AGE_EFFECT = 0.1


def _above(bound: float) -> Callable[[Figure], bool]:
    return lambda figure: (figure.low or 0.0) > bound


def _below(bound: float) -> Callable[[Figure], bool]:
    return lambda figure: (figure.high or 0.0) < bound


def _away(bound: float) -> Callable[[Figure], bool]:
    return lambda figure: (figure.low or 0.0) > 0.5 + bound or (figure.high or 0.0) < 0.5 - bound


@dataclass(frozen=True)
class Rule:
    """One reason to turn red."""

    figure: str
    """The figure that is read."""
    bound: str
    """The condition on its 95 % interval, in words."""
    broken: Callable[[Figure], bool]
    """Whether the interval fulfils it."""
    says: str
    """What then stands in red."""


RULES = (
    Rule(
        "border_only_auc", f"interval above {BORDER_AUC}", _above(BORDER_AUC),
        "The model scores well on borders alone: it may know where or how a film was taken",
    ),
    Rule(
        "border_only_within_sources_auc", f"interval above {BORDER_AUC}", _above(BORDER_AUC),
        "The model scores well on borders alone even within a source, which may itself be of several places",
    ),
    Rule(
        "border_only_probe_auc", f"interval above {BORDER_AUC}", _above(BORDER_AUC),
        "The model's features tell the classes of these films by their borders alone: figures of all these "
        "films together may measure where a film was taken rather than the disease",
    ),
    Rule(
        "border_only_probe_within_sources_auc", f"interval above {BORDER_AUC}", _above(BORDER_AUC),
        "The model's features tell the classes by borders alone even within a source, which may itself be of "
        "several places",
    ),
    Rule(
        "corners_masked_loss", f"interval above {LETTER_LOSS}", _above(LETTER_LOSS),
        "The model loses when the corners are hidden: it reads marks that are burned in",
    ),
    Rule(
        "letters_against_loss", f"interval above {LETTER_LOSS}", _above(LETTER_LOSS),
        "The model loses when letters are set against the truth",
    ),
    Rule(
        "letter_effect_auc", f"interval off 0.5 by {LETTER_EFFECT}", _away(LETTER_EFFECT),
        "A letter that is burned in moves the model's score",
    ),
    Rule(
        "permuted_labels_auc", f"interval off 0.5 by {LEAK}", _away(LEAK),
        "Labels that mean nothing are predicted: the pipeline leaks from fold to fold",
    ),
    Rule(
        "within_predicted_source_auc", "interval below 0.5", _below(0.5),
        "Within the predicted source the model is worse than chance",
    ),
    Rule(
        "against_predicted_source_auc", "interval below 0.5", _below(0.5),
        "Where source and disease disagree the model follows the source",
    ),
    Rule(
        "child_from_score_auc", f"interval off 0.5 by {AGE_EFFECT}", _away(AGE_EFFECT),
        "The score tells children from adults, by their age or by their hospital: children among the films "
        "would change every figure",
    ),
)  # fmt: skip


def alarms(figures: Mapping[str, Figure]) -> list[str]:
    """Return what an audit says in red, in full sentences; nothing where no rule is broken."""
    return [f"{rule.says} ({rule.figure} {figures[rule.figure]})." for rule in RULES if is_red(rule, figures)]


def is_red(rule: Rule, figures: Mapping[str, Figure]) -> bool:
    """Return whether a rule is broken; a figure that is not defined breaks none."""
    figure = figures[rule.figure]
    return defined(figure) and rule.broken(figure)


def described(figures: Mapping[str, Figure]) -> list[dict[str, Any]]:
    """Return each rule with its outcome, as plain values."""
    return [
        {"figure": f"audit_{rule.figure}", "red_if": rule.bound, "red": is_red(rule, figures)}
        for rule in RULES
    ]
