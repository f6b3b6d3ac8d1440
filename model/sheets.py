"""The texts of a release: model card, CLAIM and TRIPOD+AI sheets, licence, from a run's own files."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from model import reservations
from model.bootstrap import Figure
from model.checkpoint import Model
from model.class_checks import calibrating
from model.evaluation_sets import QUESTIONS, REST, ROLES
from model.gate import NOT_CHEST
from model.known_films import TRAINED
from model.origins import IMAGENET, NAMELESS, UNKNOWN, origin_of, source_and_label
from model.release_figures import HELD_OUT, REQUIRED, Figures, is_defined
from model.report_html import limits, warnings
from model.set_report import FEWEST
from model.transforms import PICTURES

SHEETS = ("MODEL_CARD.md", "CLAIM.md", "TRIPOD-AI.md", "LICENSE-WEIGHTS.md")
"""The texts, each from the template of its name."""
NO_DESIGN = "Nobody wrote down how (`--design` of `python -m model.ship`)."
TABLES = {
    "question": "All test films",
    "source": "Each source apart",
    "role": "By what the model had of a source",
}
"""Tables of figures in the card: kind of set, and heading."""
BESIDE_RULES = (
    "audit_whole_auc", "audit_whole_within_sources_auc", "audit_centre_only_auc", "audit_whole_probe_auc",
    "audit_whole_probe_within_sources_auc", "audit_source_probe_auc", "audit_source_from_score_auc",
    "audit_source_guess_auc",
)  # fmt: skip
"""Figures of the audit that no rule reads and without which those of the rules are misread."""
HEADING = "\n### "
"""How a heading begins within the text on the design; the sheets repeat what stands before the first."""


def render(model: Model, figures: Figures, weight_bytes: int, dealt: Iterable[str]) -> dict[str, str]:
    """Return each text by its file's name.

    Parameters
    ----------
    model
        The model that is released.
    figures
        What the ``metrics.json`` of the release holds.
    weight_bytes
        Size of the file of weights.
    dealt
        Paths of the films that were dealt to a step.
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "figure": figure,
        "counted": counted,
        "cell": cell,
        "among": among,
        "aimed": aimed,
    }
    known = context(model, figures) | {"megabytes": weight_bytes / 1e6, "files": kinds_of_files(dealt)}
    found = {}
    for name in SHEETS:
        template = environment.from_string((files("model") / "report" / f"{name}.j2").read_text("utf-8"))
        # A row that a loop wrote ends in a blank.
        found[name] = "".join(f"{line.rstrip()}\n" for line in template.render(known).splitlines())
    return found


def figure(values: dict[str, Any]) -> str:
    """Return a figure with its interval as text."""
    return str(Figure(**values))


def among(row: dict[str, Any], name: str) -> str:
    """Return a figure of a set of films as text, or that one of its classes has too few for it.

    The rule is that of the evaluation's report: areas and calibration need `FEWEST` films of either class,
    shares of one class as many of that.
    """
    values = row["metrics"][name]
    films = row["smaller_class"] if name in ("roc_auc", "ece") else values["n"]
    return f"too few ({films})" if values["value"] is not None and films < FEWEST else figure(values)


def aimed(values: dict[str, Any], share: float) -> str:
    """Return a share of films with its number of films and the largest share that was aimed at."""
    if values["value"] is None or values["low"] is None:
        return figure(values)
    side = "above" if values["value"] > share else "not above"
    inside = values["low"] <= share <= values["high"]
    return (
        f"{figure(values)}, n {counted(values['n'])}, {side} the {share:.1%} aimed at, which lies "
        f"{'inside' if inside else 'outside'} the interval"
    )


def kinds_of_files(dealt: Iterable[str]) -> dict[str, int]:
    """Return how many films there are, and how many of them are pictures that Pillow reads."""
    paths = list(dealt)
    return {"dealt": len(paths), "pictures": sum(path.lower().endswith(PICTURES) for path in paths)}


def counted(number: int) -> str:
    """Return a number of films with separators."""
    return f"{number:,}"


def cell(text: object) -> str:
    """Return text that breaks no table and holds no markup: names of sources come from a manifest."""
    plain = " ".join(str(text).split())
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|")):
        plain = plain.replace(sign, instead)
    return plain


def context(model: Model, figures: Figures) -> dict[str, Any]:
    """Return what the templates may speak of."""
    details = figures["details"]
    sets = {
        name: {
            "name": name,
            "smaller_class": min(values["covid"], values["films"] - values["covid"]),
            **values,
        }
        for name, values in details["sets"].items()
    }
    subsets = {subset: sum(films.values()) for subset, films in films_of(model).items()}
    design = details["design"] or NO_DESIGN
    return reserved(model, figures) | {
        "note": details["note"],
        "config": dataclasses.asdict(model.config),
        "joined": len(model.config.heads) > 1 and model.config.link == "sigmoid",
        "calibration": dataclasses.asdict(model.calibration),
        "provenance": model.provenance,
        "weights_sha256": model.weights_sha256,
        "config_sha256": model.config_sha256,
        "parameters": sum(weights.numel() for weights in model.network.parameters()),
        "details": details,
        "design": design,
        "design_short": design.split(HEADING, 1)[0].strip(),
        "fewest": FEWEST,
        "calibrated": bool(model.config.data.calibration_sources),
        "figures": {name: values for name, values in figures.items() if name != "details"},
        "required": list(REQUIRED),
        "tables": {
            heading: [values for values in sets.values() if values["kind"] == kind]
            for kind, heading in TABLES.items()
        },
        "everything": sets[REST],
        "calibrated_set": sets.get(ROLES["calibrated"]),
        "warnings": warnings(sets),
        "limits": limits(details, sets[REST]),
        "subsets": subsets,
        "data_sources": data_sources(model),
        "tested_sources": tested_sources(model),
        "networks": networks(model, figures),
        "unseen": sets[ROLES["unseen"]]["films"] if ROLES["unseen"] in sets else 0,
        "gate_sources": gate_sources(details["gate"]),
        "imagenet": IMAGENET,
    }


def reserved(model: Model, figures: Figures) -> dict[str, Any]:
    """Return what the templates may speak of besides: what is known of neither films nor sources."""
    details = figures["details"]
    films = films_of(model)
    trained = {name for subset in TRAINED for name in films.get(subset, {})}
    behind_gate = gate_sources(details["gate"])
    named = [*data_sources(model), *tested_sources(model), *behind_gate]
    own = networks(model, figures).get(model.config.network.name, {})
    return {
        "beside_rules": [name for name in BESIDE_RULES if is_defined(figures, name)],
        "nameless": sorted({row["name"] for row in named if row["origin"] is UNKNOWN}),
        "no_chest": [row for row in behind_gate if row["kind"] == NOT_CHEST],
        "gate_kin": reservations.kin_of_gate(details["gate"]),
        "gate_reservations": reservations.of_gate(details["gate"], trained, labels_of(model)),
        "audit_reservations": reservations.of_audit(
            details["audit"], {source_and_label(name)[0] for name in trained}
        ),
        "of_released_weights": [name for name in HELD_OUT if name in own and own[name] == figures[name]],
        "unasked": unasked(model),
    }


def labels_of(model: Model) -> dict[str, set[str]]:
    """Return the labels of the films that took part, by source."""
    found: dict[str, set[str]] = defaultdict(set)
    for films in films_of(model).values():
        for name in films:
            source, label = source_and_label(name)
            found[source].add(label)
    return found


def unasked(model: Model) -> dict[str, int]:
    """Return by label how many test films without COVID-19 are of neither question."""
    asked = {model.config.data.covid_label, *(label for labels in QUESTIONS.values() for label in labels)}
    found = Counter[str]()
    for name, count in films_of(model).get("test", {}).items():
        _, label = source_and_label(name)
        if label not in asked:
            found[label] += count
    return dict(found)


def films_of(model: Model) -> dict[str, dict[str, int]]:
    """Return how many films of which ``source:label`` each subset held."""
    found: dict[str, dict[str, int]] = model.provenance.get("films", {})
    return found


def data_sources(model: Model) -> list[dict[str, Any]]:
    """Return the sources behind the weights and the calibration, with their films in each of both.

    Films that calibrate move no weight: they decide a few numbers, which are part of the model all the same.
    """
    trained, calibrated = Counter[str](), Counter[str]()
    chosen = set(model.config.data.calibration_sources)
    for subset, counts in films_of(model).items():
        for name, count in counts.items():
            source, _ = source_and_label(name)
            if subset in TRAINED:
                trained[source] += count
            if subset == calibrating(model.config) and (not chosen or source in chosen):
                calibrated[source] += count
    return [
        {
            "name": name or NAMELESS,
            "origin": origin_of(name),
            "trained": trained[name],
            "calibrated": calibrated[name],
        }
        for name in sorted(set(trained) | set(calibrated), key=lambda name: -trained[name])
    ]


def tested_sources(model: Model) -> list[dict[str, Any]]:
    """Return the sources whose films were tested and neither trained nor calibrated."""
    behind = {row["name"] for row in data_sources(model)}
    tested = {source_and_label(name)[0] or NAMELESS for name in films_of(model).get("test", {})}
    return [{"name": name, "origin": origin_of(name)} for name in sorted(tested - behind)]


def networks(model: Model, figures: Figures) -> dict[str, dict[str, Any]]:
    """Return the studies' figures by network; the released one has its own of the families held out."""
    found: dict[str, dict[str, Any]] = dict(figures["details"]["studies"].get("networks", {}))
    released = model.config.network.name
    if released in found:
        own = {name: figures[name] for name in HELD_OUT if is_defined(figures, name)}
        found[released] = own | found[released]
    return found


def gate_sources(gate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the families of films and the kinds of pictures behind a gate, with their numbers."""
    return [
        {"kind": kind, "name": name, "origin": origin_of(name), "films": sum(said.values())}
        for key, said in gate["reasons"].items()
        for kind, name in [key.split(":", 1)]
    ]
