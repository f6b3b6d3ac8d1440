"""Rebuild the pictures of the README: `.venv/bin/python docs/images/rebuild.py`.

`evaluation.png` alone: `.venv/bin/python docs/images/rebuild.py evaluation`. It trains on phantoms, and a
browser draws the page (Chromium).

The film is the chest film of the package pydicom-data (MIT); the model is the shipped one; the objects are
those that the worker sends. Needs dcmtk, which renders report and presentation state.
"""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from dicom_io.capture import build_capture
from dicom_io.findings import Algorithm, Device, Finding, ResultContext
from dicom_io.lettering import font
from dicom_io.part10 import read_dataset
from dicom_io.pixels import read_pixels
from dicom_io.presentation import build_presentation
from dicom_io.report import build_report, encode
from dicom_io.summary import build_summary
from model.evaluate import main as evaluate
from model.phantom import write_phantoms
from model.predict import Prediction, Predictor
from model.train import main as train
from worker import __version__
from worker.outcome import PRESENCE, parameters

HERE = Path(__file__).parent
ROWS = 520
"""Height of the pictures: they stay below 200 kB."""
PAGE, PAGE_ROWS, PAGE_PARTS = (1100, 3400), 1060, (0, 1930)
"""Size of the browser's window, height of the report's picture, and where on the page its two parts begin."""
GREEN, YELLOW = (190, 255, 90), (255, 220, 90)


def main() -> None:
    """Write the pictures that are named, by default all."""
    named = sys.argv[1:] or ["results", "evaluation"]
    if "results" in named:
        draw_results()
    if "evaluation" in named:
        save(evaluation_page(), "evaluation.png")


def evaluation_page() -> Image.Image:
    """Train on phantoms, evaluate, and return the head of the report beside its curves."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        manifest = str(write_phantoms(out / "films", 600))
        short = ["--preset", "teaching", "--epochs", "1", "--steps", "60", "--no-check"]
        train(["--data", manifest, "--out", str(out / "run"), *short])
        model = str(out / "run" / "model")
        evaluate(["--model", model, "--data", manifest, "--out", str(out / "report"), "--no-gallery"])
        page = seen(out / "report" / "report.html")
        head, curves = (page.crop((0, top, page.width, top + PAGE_ROWS)) for top in PAGE_PARTS)
        return beside(head, curves, rows=PAGE_ROWS)


def seen(page: Path) -> Image.Image:
    """Return what a browser shows of a page, down to its end."""
    drawn = page.with_suffix(".png")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={drawn}"]
    size = f"--window-size={PAGE[0]},{PAGE[1]}"
    subprocess.run(["chromium", *options, size, page.as_uri()], check=True, capture_output=True)
    return Image.open(drawn)


def draw_results() -> None:
    """Judge the film and write the pictures of what a PACS gets."""
    path = Path(get_testdata_file("RG1_UNCR.dcm", download=False))
    film = read_dataset(path)
    image_HW = read_pixels(film)
    predictor = Predictor(None)
    said = predictor(image_HW)
    context = describe(predictor, said)
    capture = build_capture(film, image_HW, said.cam_HW, context)
    heat_map, plain = Image.fromarray(capture.pixel_array), Image.fromarray(np.uint8(image_HW * 255))
    save(beside(plain, heat_map), "heat-map.png")
    page = build_summary(film, image_HW, said.cam_HW, context)
    save(Image.fromarray(page.pixel_array).resize((720, 720), Image.Resampling.LANCZOS), "summary.png")
    state = build_presentation(film, said.cam_HW, context)
    save(beside(plain, shown_with(state, path)), "presentation-state.png")
    report = build_report(film, context, capture)
    (HERE / "report.txt").write_text(dumped(report), encoding="utf-8")


def describe(predictor: Predictor, said: Prediction) -> ResultContext:
    """Return what the worker would say of the film."""
    info = predictor.info
    return ResultContext(
        finding=Finding(
            PRESENCE[said.decision], said.probability, info.threshold, info.band_low, info.band_high
        ),
        algorithm=Algorithm(info.name, info.version, info.weights_sha256, parameters(info)),
        device=Device("demo", __version__),
        created_at=datetime.now(UTC),
    )


def dumped(report: Dataset) -> str:
    """Return the report as dsrdump shows it."""
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(encode(report))
        file.flush()
        return subprocess.run(["dsrdump", file.name], check=True, capture_output=True, text=True).stdout


def shown_with(state: Dataset, film: Path) -> Image.Image:
    """Return the film as dcmp2pgm shows it, with texts and outlines, which that program leaves to viewers."""
    with tempfile.TemporaryDirectory() as folder:
        saved, picture = Path(folder, "state.dcm"), Path(folder, "shown.pgm")
        saved.write_bytes(encode(state))
        subprocess.run(["dcmp2pgm", "-p", str(saved), str(film), str(picture)], check=True)
        shown = Image.open(picture).convert("RGB")
    draw, width = ImageDraw.Draw(shown), shown.width
    for item in state.GraphicAnnotationSequence:
        for graphic in item.get("GraphicObjectSequence", []):
            draw.line(list(graphic.GraphicData), fill=GREEN, width=width // 250)
        for text in item.get("TextObjectSequence", []):
            place = tuple(text.BoundingBoxTopLeftHandCorner)
            words = text.UnformattedTextValue.replace("\r\n", "\n")
            draw.multiline_text(place, words, fill=YELLOW, font=font(width // 48))
    return shown


def beside(left: Image.Image, right: Image.Image, rows: int = ROWS) -> Image.Image:
    """Return two pictures of the same height, side by side."""
    pair = [
        picture.convert("RGB").resize(
            (round(picture.width * rows / picture.height), rows), Image.Resampling.LANCZOS
        )
        for picture in (left, right)
    ]
    sheet = Image.new("RGB", (pair[0].width + pair[1].width + 10, rows), (255, 255, 255))
    sheet.paste(pair[0], (0, 0))
    sheet.paste(pair[1], (pair[0].width + 10, 0))
    return sheet


def save(picture: Image.Image, name: str) -> None:
    """Write a picture in 256 colours."""
    small = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.FLOYDSTEINBERG)
    small.save(HERE / name, optimize=True)
    print(f"{name}: {(HERE / name).stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
