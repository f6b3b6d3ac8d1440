"""The picture of a check of maps: deletion and insertion curves, and what random weights leave."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from model.bootstrap import Figure
from model.maps.faithful import BASELINES, KINDS, Curves
from model.maps.registry import METHODS
from model.plots import COLOURS, STYLE, STYLES

TITLES = {
    "deletion": "Deletion: highest cells greyed out first\n(lower is better)",
    "insertion": "Insertion: highest cells given back first\n(higher is better)",
}


def plot_faithfulness(
    curves: Curves, stages: Mapping[str, Mapping[str, Figure]], figures: Mapping[str, Figure]
) -> Picture:
    """Draw the mean curves with their areas, and the rank correlation after each part made random."""
    with rc_context(STYLE):
        picture = Picture(figsize=(16, 6.4), layout="constrained")
        panels = picture.subplots(1, 3)
        for panel, kind in zip(panels, KINDS, strict=False):
            _draw_curves(panel, curves, figures, kind)
        _draw_stages(panels[2], stages)
        return picture


def _draw_curves(panel: Axes, curves: Curves, figures: Mapping[str, Figure], kind: str) -> None:
    for (name, by_kind), colour, style in zip(
        curves.values.items(), cycle(COLOURS), cycle(STYLES), strict=False
    ):
        values_S = by_kind[kind].mean(axis=0)
        share_S = np.linspace(0, 1, len(values_S))
        label = f"{name}: area {figures[f'{name}_{kind}_area']}"
        width = 1.2 if name in BASELINES else 2.0
        panel.plot(share_S, values_S, label=label, color=colour, linestyle=style, linewidth=width)
    panel.set(xlabel="share of the film's cells", ylabel="mean P(COVID-19)", xlim=(0, 1))
    _finish(panel, TITLES[kind])


def _draw_stages(panel: Axes, stages: Mapping[str, Mapping[str, Figure]]) -> None:
    names = [
        "trained",
        *(name.replace(" of the layers", "").replace("heads and last", "+") for name in stages),
    ]
    for name, colour, style in zip(METHODS, cycle(COLOURS), cycle(STYLES), strict=False):
        found = [by_name[f"{name}_rank_correlation"] for by_name in stages.values()]
        values = [1.0, *(figure.value or 0.0 for figure in found)]
        panel.plot(range(len(values)), values, label=name, color=colour, linestyle=style, marker="o")
    panel.axhline(0.0, color="#999999", linewidth=1)
    panel.set_xticks(range(len(names)), names)
    panel.set(
        xlabel="weights made random, from the head down", ylabel="mean rank correlation", ylim=(-0.6, 1.05)
    )
    _finish(panel, "Agreement with the map of the trained network\n(should fall to 0)")


def _finish(panel: Axes, title: str) -> None:
    panel.set_title(title, fontsize=11, loc="left", fontweight="bold")
    panel.grid(color="#e4e4e4", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=9, frameon=False)
