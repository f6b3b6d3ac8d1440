"""A finding → a summary page: film, heat map and every number on one picture, for PACS that show no SR."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from dicom_io.capture import Series, wrap_picture
from dicom_io.evidence import view_evidence
from dicom_io.findings import Finding, ResultContext
from dicom_io.heat import blend, draw_scale, grey_picture, require_finite
from dicom_io.identity import require_sound
from dicom_io.lettering import AMBER, BLACK, GREY, WHITE, fit, font, paragraph
from dicom_io.overlay import BANNER, describe_map, judgement
from dicom_io.uids import Kind

SERIES_NUMBER: Final = 9003
SERIES_DESCRIPTION: Final = "AI summary COVID-19, research use only"
SUMMARIES: Final = Series(
    number=SERIES_NUMBER,
    description=SERIES_DESCRIPTION,
    derivation="Page with the film, a Grad-CAM heat map for COVID-19 over it, and the finding as text",
    image=Kind.SUMMARY,
    series=Kind.SUMMARY_SERIES,
)
SIDE: Final = 1024
"""Rows and columns of the page: it is read without zooming."""

_MARGIN: Final = 24
_PANEL: Final = (444, 548)
"""Most columns and rows of the film and of the map."""
_PANEL_TOP: Final = 92
_TEXT_TOP: Final = 670
_LABEL_WIDTH: Final = 150
_LINE: Final = 21
_BETWEEN: Final = 5
"""Rows of a line of text, and between what two labels say."""
_AT_LENGTH: Final = ("Calibration", "Prevalence")
_MOST_LINES: Final = 2
"""What the model says of itself in sentences, and how many lines it may take; all else has one."""
_BAR: Final = (86, 180, 233)
_BAND: Final = (80, 80, 80)


def build_summary(
    source: Dataset,
    image_HW: NDArray[np.float32],
    cam_HW: NDArray[np.float32],
    context: ResultContext,
) -> Dataset:
    """Return the summary page of one film as a secondary capture.

    Parameters
    ----------
    source : Dataset
        The film as read from the spool; it is not modified.
    image_HW : NDArray[np.float32], shape (rows, cols)
        Displayed grey values of the film, 0-1, air dark.
    cam_HW : NDArray[np.float32], any shape
        Heat map on the model's fixed scale 0-1, covering the film's extent.
    context : ResultContext
        The finding, and who made it when.

    Returns
    -------
    Dataset
        Secondary Capture (1.2.840.10008.5.1.4.1.1.7), 8-bit RGB, 1024 x 1024, without name, id, spacing and
        orientation on or in the picture; the same for the same arguments.

    Raises
    ------
    InvalidResult
        When an array or the context cannot be written, or the film has no UIDs to refer to.

    References
    ----------
    PS3.3 A.8.1, C.7.6.1, C.8.6.
    """
    require_sound(context)
    evidence = view_evidence(source)
    moment = evidence.local_time(context.created_at)
    page_HW3 = render_summary(image_HW, cam_HW, replace(context, created_at=moment), evidence.pixel_aspect)
    return wrap_picture(page_HW3, evidence, context, SUMMARIES)


def render_summary(
    image_HW: NDArray[np.float32],
    cam_HW: NDArray[np.float32],
    context: ResultContext,
    pixel_aspect: float = 1.0,
) -> NDArray[np.uint8]:
    """Return the page: film and map side by side, below them finding, numbers, model, node and time.

    Parameters
    ----------
    image_HW : NDArray[np.float32], shape (rows, cols)
        Displayed grey values 0-1, air dark.
    cam_HW : NDArray[np.float32], any shape
        Heat map on the model's fixed scale 0-1, covering the film's extent.
    context : ResultContext
        What the text says; the time is written as it stands.
    pixel_aspect : float
        Height of a pixel of the film by its width.

    Returns
    -------
    NDArray[np.uint8], shape (1024, 1024, 3)
        RGB.

    Raises
    ------
    InvalidResult
        When an array is empty, has other than two dimensions, or holds a value that is not finite.
    """
    require_finite("image", image_HW)
    require_finite("heat map", cam_HW)
    page = Image.new("RGB", (SIDE, SIDE), BLACK)
    draw = ImageDraw.Draw(page)
    draw.text((SIDE / 2, 30), BANNER, fill=AMBER, font=font(30), anchor="mm")
    size = _panel_size(image_HW.shape[0] * pixel_aspect, image_HW.shape[1])
    _draw_panel(page, _MARGIN, "Film", grey_picture(image_HW, size))
    left = _MARGIN * 2 + _PANEL[0]
    _draw_panel(page, left, "Heat map for COVID-19", Image.fromarray(blend(image_HW, cam_HW, size)))
    draw_scale(page, (left + _PANEL[0] + 18, _PANEL_TOP + 80), _PANEL[1] - 160, 15)
    _draw_text(draw, context, float(cam_HW.max()))
    return np.asarray(page)


def _panel_size(rows: float, columns: float) -> tuple[int, int]:
    """Return columns and rows at which the film fits its panel with its proportions kept."""
    scale = min(_PANEL[0] / columns, _PANEL[1] / rows)
    return max(1, round(columns * scale)), max(1, round(rows * scale))


def _draw_panel(page: Image.Image, left: int, title: str, picture: Image.Image) -> None:
    draw = ImageDraw.Draw(page)
    draw.text((left, _PANEL_TOP - 10), title, fill=GREY, font=font(18), anchor="ls")
    place = (left + (_PANEL[0] - picture.width) // 2, _PANEL_TOP + (_PANEL[1] - picture.height) // 2)
    page.paste(picture, place)


def _draw_text(draw: ImageDraw.ImageDraw, context: ResultContext, highest: float) -> None:
    width = SIDE - 2 * _MARGIN
    headline = judgement(context.finding)
    draw.text((_MARGIN, _TEXT_TOP), headline, fill=WHITE, font=fit(draw, headline, width, 30), anchor="lt")
    _draw_probability(draw, context.finding, _TEXT_TOP + 56)
    top = _TEXT_TOP + 146
    for label, text in _rows(context, highest):
        draw.text((_MARGIN, top), label, fill=GREY, font=font(18), anchor="ls")
        lines, face = paragraph(
            draw, text, width - _LABEL_WIDTH, 18, _MOST_LINES if label in _AT_LENGTH else 1
        )
        for line in lines:
            draw.text((_MARGIN + _LABEL_WIDTH, top), line, fill=WHITE, font=face, anchor="ls")
            top += _LINE
        top += _BETWEEN


def _rows(context: ResultContext, highest: float) -> Iterator[tuple[str, str]]:
    """Yield label and text of each line below the probability."""
    finding, algorithm = context.finding, context.algorithm
    band = f"abstain band {finding.band_low * 100:.1f} to {finding.band_high * 100:.1f} %"
    has_band = finding.band_high > finding.band_low
    yield "Decision", f"threshold {finding.threshold * 100:.1f} %, {band if has_band else 'no abstain band'}"
    yield "Model", f"{algorithm.name} {algorithm.version}, weights {algorithm.weights_sha256[:12]}"
    for label in _AT_LENGTH:
        lines = [line for line in algorithm.parameters if line.startswith(label.lower())]
        yield (
            label,
            "; ".join(line.removeprefix(label.lower()).lstrip(": ") for line in lines) or "not stated",
        )
    yield "Map", describe_map(highest).removeprefix("Map: ")
    yield "Node", f"{context.device.node_id}, cxr-worker {context.device.software_version}"
    yield "Time", context.created_at.isoformat(sep=" ", timespec="seconds")


def _draw_probability(draw: ImageDraw.ImageDraw, finding: Finding, top: int) -> None:
    """Draw the probability as a bar from 0 to 100 %, with the abstain band and the threshold on it."""
    left, right, height = _MARGIN, SIDE - _MARGIN, 22

    def place(probability: float) -> int:
        return left + round((right - left) * probability)

    if finding.band_high > finding.band_low:
        ends = place(finding.band_low), top - 6, place(finding.band_high), top + height + 6
        draw.rectangle(ends, fill=_BAND)
    draw.rectangle((left, top, place(finding.probability), top + height), fill=_BAR)
    draw.rectangle((left, top, right, top + height), outline=GREY)
    threshold = place(finding.threshold)
    draw.line((threshold, top - 10, threshold, top + height + 10), fill=WHITE, width=3)
    for tick in range(0, 101, 20):
        anchor = {0: "lt", 100: "rt"}.get(tick, "mt")
        draw.text(
            (place(tick / 100), top + height + 14), f"{tick} %", fill=GREY, font=font(15), anchor=anchor
        )
