"""What must be said beside the figures of a release's gate and audit, in full sentences."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from model.gate_films import ADULT, FAMILY_OF, adult_family
from model.origins import NAMELESS, origin_of, source_and_label
from model.shortcuts.checks import FEWEST


def in_words(names: Sequence[str]) -> str:
    """Return names as a list in words; nothing where there is none."""
    told = [name or NAMELESS for name in names]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def adult_families(gate: Mapping[str, Any]) -> list[str]:
    """Return the families of adult films behind a gate."""
    keys = [key.split(":", 1) for key in gate["reasons"]]
    return sorted(family for kind, family in keys if kind == ADULT)


def of_gate(
    gate: Mapping[str, Any], trained: Collection[str], labels_of: Mapping[str, Collection[str]]
) -> list[str]:
    """Return what its figures by family do not show.

    Parameters
    ----------
    gate
        What ``gate.json`` holds of its figures.
    trained
        Which films trained the network or chose its epoch, as ``source:label``.
    labels_of
        The labels of each source.
    """
    families = adult_families(gate)
    known = sorted({adult_family(*source_and_label(name)) for name in trained} & set(families))
    new = [family for family in families if family not in known]
    found = []
    if known and len(families) > 1:
        found.append(
            "Where a family is left out, it is left out of the gate alone. The network whose features it "
            f"reads was trained on films of {in_words(known)}; new to both, as far as copies are known: "
            f"{in_words(new) or 'none'}."
        )
    for key, family in FAMILY_OF.items():
        source, _, label = key.partition(":")
        rest = sorted(set(labels_of.get(source, ())) - {label})
        if label and rest and {source, family} <= set(families):
            found.append(
                f"Adults of {source} are its films with the label {in_words(rest)} alone; its {label} films "
                f"are counted with {family}."
            )
    return found


def kin_of_gate(gate: Mapping[str, Any]) -> list[str]:
    """Return which other sources' films stand under a family's name, for their terms."""
    found = []
    for family in adult_families(gate):
        others = [
            f"{source} ({label})" if label else source
            for source, _, label in (key.partition(":") for key, name in FAMILY_OF.items() if name == family)
        ]
        if others:
            found.append(
                f"Adults of {family} may also be films of {in_words(others)}, and of other sources whose "
                "patient ids begin with one of these names: then their sources' terms hold for them too."
            )
    return found


def of_audit(audit: Mapping[str, Any], trained: Collection[str]) -> list[str]:
    """Return of which sources its figures within sources speak, and of which they do not.

    Parameters
    ----------
    audit
        The details of ``audit.json``.
    trained
        Sources whose films trained the network or chose its epoch.
    """
    within = audit["by_source"]
    found = []
    if within:
        told = []
        for source, values in within.items():
            composite = ", put together from several places" if origin_of(source).composite else ""
            learned = "trained" if source in trained else "trained nothing"
            told.append(f"{source or NAMELESS} (n {values['whole_auc']['n']:,}{composite}, {learned})")
        found.append(f"Figures within sources are means, each source alike, of {in_words(told)}.")
    absent = sorted(set(trained) - set(within))
    if absent:
        found.append(
            f"Within {in_words(absent)}, which trained, nothing was audited: fewer than {FEWEST} films of "
            "one class were drawn of each."
        )
    return found
