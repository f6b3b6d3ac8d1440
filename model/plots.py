"""Pictures of an evaluation: confusion matrices and ROC curves as PNG."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

NOTE = "For research and teaching only, not for diagnosis."


def plot_confusion(path: Path, matrices: Mapping[str, list[list[int]]]) -> None:
    """Draw one ``[[tn, fp], [fn, tp]]`` per set, coloured by the share of its row."""
    chosen = list(matrices.items())
    figure = Figure(figsize=(3.2 * len(chosen) + 0.4, 3.9), layout="constrained")
    panels = figure.subplots(1, len(chosen), squeeze=False)[0]
    for panel, (name, matrix) in zip(panels, chosen, strict=True):
        shares = [[cell / max(1, sum(row)) for cell in row] for row in matrix]
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row in range(2):
            for column in range(2):
                share = shares[row][column]
                text = f"{matrix[row][column]}\n{share:.0%}"
                colour = "white" if share > 0.5 else "black"
                panel.text(column, row, text, ha="center", va="center", color=colour)
        panel.set_xticks([0, 1], ["negative", "positive"])
        panel.set_yticks([0, 1], ["not COVID-19", "COVID-19"], rotation=90, va="center")
        panel.set_xlabel("model")
        panel.set_title(name, fontsize=9)
    figure.suptitle(f"At the model's threshold. {NOTE}", fontsize=8)
    figure.savefig(path, dpi=120)


def plot_roc(path: Path, curves: Mapping[str, dict[str, list[float]]], aucs: Mapping[str, str]) -> None:
    """Draw one ROC curve per set; `aucs` holds the area with its interval as text."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="chance")
    for name, curve in curves.items():
        label = f"{name}: {aucs[name]}"
        panel.plot(curve["false_positive_rate"], curve["true_positive_rate"], label=label)
    panel.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    panel.legend(loc="lower right", fontsize=8)
    panel.set_title(NOTE, fontsize=8)
    figure.savefig(path, dpi=120)
