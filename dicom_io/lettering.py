"""Text in a picture: fonts, and a size at which a line fits."""

from functools import cache
from typing import Final

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]

BLACK: Final[Colour] = (0, 0, 0)
WHITE: Final[Colour] = (255, 255, 255)
GREY: Final[Colour] = (150, 150, 150)
AMBER: Final[Colour] = (255, 200, 60)
"""The warning, and nothing else."""

_SMALLEST_FONT_PX: Final = 6


@cache
def font(size: int) -> Font:
    """Return the typeface at a height in pixels.

    Parameters
    ----------
    size : int
        Height in pixels.
    """
    return ImageFont.load_default(size=size)


def fit(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> Font:
    """Return the largest font in which a line is no wider than it may be.

    Parameters
    ----------
    draw : ImageDraw.ImageDraw
        The picture that measures the line.
    text : str
        One line.
    width : int
        Most pixels that it may take.
    size : int
        Largest height in pixels; never less than 6 is returned.
    """
    while size > _SMALLEST_FONT_PX and draw.textlength(text, font=font(size)) > width:
        size -= 1
    return font(size)


def paragraph(
    draw: ImageDraw.ImageDraw, text: str, width: int, size: int, most_lines: int
) -> tuple[list[str], Font]:
    """Return text broken between words into few lines, and the largest font in which they are that few.

    Parameters
    ----------
    draw : ImageDraw.ImageDraw
        The picture that measures the lines.
    text : str
        Words.
    width : int
        Most pixels that a line may take.
    size : int
        Largest height in pixels.
    most_lines : int
        Most lines; text that even the smallest font cannot set in so many ends in a line that is too long.
    """
    lines = _broken(draw, text, width, font(size), most_lines)
    while size > _SMALLEST_FONT_PX and any(draw.textlength(line, font=font(size)) > width for line in lines):
        size -= 1
        lines = _broken(draw, text, width, font(size), most_lines)
    return lines, font(size)


def _broken(draw: ImageDraw.ImageDraw, text: str, width: int, face: Font, most_lines: int) -> list[str]:
    """Return lines that are no wider than they may be where words allow it; the last takes what is left."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and len(lines) < most_lines and draw.textlength(longer, font=face) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
