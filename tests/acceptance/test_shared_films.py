"""Twelve real DICOM files, sent as they are: each reaches the outcome that is expected of it."""

from pathlib import Path

import pytest
from parts import Installation

OUTCOMES = {
    "chest_cr_philips_j2k.dcm": "analysed",
    "chest_cr_philips_jpegls.dcm": "analysed",
    "chest_cr_rsna_jpeg.dcm": "analysed",
    "chest_dx_fuji_mono1.dcm": "child",
    "cr_modality_lut_jpegll.dcm": "not_chest",
    "hip_cr_fuji_jpeg12.dcm": "not_chest",
    "hip_cr_fuji_jpegll.dcm": "not_chest",
    "extremity_cr_fuji_j2k.dcm": "not_chest",
    "hand_cr_kodak_j2k_bad_sot.dcm": "not_chest",
    "extremity_dx_agfa_no_pixels.dcm": "no_pixels",
    "chest_cr_japanese_32px.dcm": "no_pixels",
    "chest_cr_korean_32px.dcm": "no_pixels",
}
"""Analysed, or the reason of refusal. The header of `cr_modality_lut_jpegll.dcm` says nothing: the model's
gate sees what it shows."""


def test_every_real_file_reaches_its_outcome(installation: Installation, shared: Path) -> None:
    files = [shared / "dicom" / name for name in OUTCOMES]
    installation.listen()
    sent = installation.command("send", *map(str, files))
    assert sent.returncode == 0, sent.stdout
    installation.work()

    states = ["reported" if outcome == "analysed" else "refused" for outcome in OUTCOMES.values()]
    rows = installation.wait_for_states(*states, timeout_s=240)

    in_order = sorted(rows, key=lambda row: row["image_id"])
    reached = {name: row["reason"] or "analysed" for name, row in zip(OUTCOMES, in_order, strict=True)}
    assert reached == OUTCOMES
    assert installation.pacs is not None
    assert installation.pacs.modalities() == ["OT"] * 3 + ["SR"] * 3
    jpeg_2000, jpeg_ls = in_order[0]["probability"], in_order[1]["probability"]
    assert jpeg_2000 == pytest.approx(jpeg_ls, abs=0.02)
