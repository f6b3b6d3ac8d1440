"""Pictures of an evaluation: confusion matrices and curves, readable without colour vision."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest

NOTE = "For research and teaching only, not for diagnosis."
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's colours, which people with any colour vision tell apart."""
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
}
WIDTH, HEIGHT = 5.6, 5.2
TRUTH, CALLED = ("not COVID-19", "COVID-19"), ("negative", "positive")
"""Rows and columns of a confusion matrix of two classes."""


def _panel(title: str, lines: int) -> tuple[Figure, Axes]:
    """Return a square panel with room below it for a legend of so many lines."""
    figure = Figure(figsize=(WIDTH, HEIGHT + 0.27 * lines), layout="constrained")
    panel = figure.subplots()
    panel.set_title(title, fontsize=11, loc="left", fontweight="bold")
    panel.grid(color="#e4e4e4", linewidth=0.7)
    panel.set_axisbelow(True)
    return figure, panel


def _legend(figure: Figure) -> None:
    # Below the panel: inside it would lie over a curve sooner or later.
    figure.legend(loc="outside lower left", fontsize=9, frameon=False)


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return so many panels of this size in inches, three in a row."""
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for panel in panels[count:]:
        panel.axis("off")
    return figure, panels[:count]


def plot_confusion(
    matrices: Mapping[str, list[list[int]]],
    truth: Sequence[str] = TRUTH,
    called: Sequence[str] = CALLED,
) -> Figure:
    """Draw a matrix per set, such as ``[[tn, fp], [fn, tp]]``, coloured by the share of its row."""
    with rc_context(STYLE):
        figure, panels = _panels(len(matrices), 3.3, 3.6)
        for panel, (name, matrix) in zip(panels, matrices.items(), strict=True):
            _confusion_panel(panel, name, matrix)
            panel.set_xticks(range(len(called)), called)
            panel.set_yticks(range(len(truth)), truth, rotation=90, va="center")
        return figure


def _confusion_panel(panel: Axes, name: str, matrix: list[list[int]]) -> None:
    shares = [[cell / max(1, sum(row)) for cell in row] for row in matrix]
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(matrix)):
        for column in range(len(matrix[row])):
            share = shares[row][column]
            # Black on the darker half of the blues, or white on the lighter, would be hard to read.
            colour = "white" if share > 0.66 else "black"
            text = f"{matrix[row][column]}\n{share:.0%}" if sum(matrix[row]) else "no film"
            panel.text(column, row, text, ha="center", va="center", color=colour)
    panel.set_xlabel("model")
    panel.set_ylabel("truth")
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_title(_folded(name, 34), fontsize=9)


def _folded(text: str, width: int) -> str:
    """Return the text on two lines where it is long, broken after its colon or at a blank."""
    if len(text) <= width:
        return text
    cut = text.find(": ") + 1 or text.rfind(" ", 0, width)
    return f"{text[:cut].rstrip()}\n{text[cut:].lstrip()}" if cut > 0 else text


def plot_roc(curves: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> Figure:
    """Draw one ROC curve per set; `labels` holds the area with its interval as text."""
    with rc_context(STYLE):
        figure, panel = _panel("ROC", len(curves) + 1)
        panel.plot([0, 1], [0, 1], color="#999999", linewidth=1, label="chance")
        for number, (name, curve) in enumerate(curves.items()):
            roc = curve["roc"]
            x, y = roc["false_positive_rate"], roc["true_positive_rate"]
            panel.plot(x, y, label=f"{name}: {labels[name]}", **_line(number))
        panel.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.005))
        _legend(figure)
        return figure


def _line(number: int) -> dict[str, Any]:
    # A seventh curve has the colour of the first, and must not have its strokes too.
    stroke = STYLES[(number + number // 6) % 6]
    return {"color": COLOURS[number % 6], "linestyle": stroke, "linewidth": 1.8}


def plot_precision_recall(curves: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> Figure:
    """Draw one precision-recall curve per set, and the share of COVID-19, which chance reaches, as a tick."""
    with rc_context(STYLE):
        figure, panel = _panel("Precision and recall", len(curves))
        for number, (name, curve) in enumerate(curves.items()):
            points, share = curve["precision_recall"], curve["share_of_covid"]
            text = f"{name}: {labels[name]}, chance {share:.2f}"
            panel.plot(points["recall"], points["precision"], label=text, **_line(number))
            panel.plot([0.97, 1], [share, share], color=COLOURS[number % 6], linewidth=3)
        panel.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(0, 1), ylim=(0, 1.005))
        _legend(figure)
        return figure


def plot_reliability(curves: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> Figure:
    """Draw the share of COVID-19 in the bins of the calibration error, with exact binomial intervals."""
    with rc_context(STYLE):
        figure, panel = _panel("Reliability", len(curves) + 1)
        panel.plot([0, 1], [0, 1], color="#999999", linewidth=1, label="a probability that is a frequency")
        for number, (name, curve) in enumerate(curves.items()):
            _reliability_line(panel, curve["reliability"], number, f"{name}: {labels[name]}")
        panel.set(xlabel="stated P(COVID-19)", ylabel="share of COVID-19", xlim=(0, 1), ylim=(0, 1.01))
        _legend(figure)
        return figure


def plot_reliability_apart(
    curves: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], scale: str
) -> Figure:
    """Draw the reliability of each set in a panel of its own; `scale` names the figure in `labels`."""
    with rc_context(STYLE):
        figure, panels = _panels(len(curves), 3.3, 3.6)
        for number, (panel, (name, curve)) in enumerate(zip(panels, curves.items(), strict=True)):
            panel.grid(color="#e4e4e4", linewidth=0.7)
            panel.set_axisbelow(True)
            panel.plot([0, 1], [0, 1], color="#999999", linewidth=1)
            _reliability_line(panel, curve["reliability"], number, name)
            panel.set(xlabel="stated P(COVID-19)", ylabel="share of COVID-19", xlim=(0, 1), ylim=(0, 1.01))
            panel.set_title(f"{_folded(name, 34)}\n{scale} {labels[name]}", fontsize=9)
        return figure


def _reliability_line(panel: Axes, bins: Sequence[Mapping[str, Any]], number: int, label: str) -> None:
    exact = [binomtest(b["covid"], b["films"]).proportion_ci(0.95, "exact") for b in bins]
    share = [b["share"] for b in bins]
    reach = [
        [max(0.0, s - e.low) for s, e in zip(share, exact, strict=True)],
        [max(0.0, e.high - s) for s, e in zip(share, exact, strict=True)],
    ]
    panel.errorbar(
        [b["probability"] for b in bins], share, yerr=reach, elinewidth=0.8, markersize=4,
        marker="os^Dvp"[number % 6], label=label, **_line(number),
    )  # fmt: skip


def plot_net_benefit(name: str, curve: Mapping[str, Any]) -> Figure:
    """Draw the net benefit of the model beside treating all and none (Vickers and Elkin 2006)."""
    with rc_context(STYLE):
        figure, panel = _panel("Decision curve", 4)
        values, share = curve["net_benefit"], curve["share_of_covid"]
        for number, kind in enumerate(("model", "treat all", "treat none")):
            panel.plot(values["threshold"], values[kind], label=kind, **_line(number))
        top = max(*values["model"], share, 0.01)
        panel.set(
            xlabel="threshold probability", ylabel="net benefit", xlim=(0, 1), ylim=(-0.35 * top, 1.1 * top)
        )
        figure.legend(
            loc="outside lower left", fontsize=9, frameon=False,
            title=f"{name}, at its share of COVID-19, {share:.0%}", title_fontsize=9, alignment="left",
        )  # fmt: skip
        return figure


def as_png(figure: Figure) -> bytes:
    """Return the picture as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    # The places of everything are found; a second format need not find them again.
    figure.set_layout_engine("none")
    return buffer.getvalue()


def as_data_address(figure: Figure) -> str:
    """Return the picture as an SVG that stands in a page itself; as an image, so that ids stay apart."""
    buffer = io.BytesIO()
    # Without a date and with a fixed salt the same evaluation gives the same page.
    with rc_context({"svg.hashsalt": "cxr"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def shown(names: Sequence[str], curves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the curves of those sets that have them, in this order."""
    return {name: curves[name] for name in names if name in curves}
