"""A film is passed through the network once, whether the gate is asked or not."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_film, chest_HW, phantom_HW, to_bytes
from numpy.typing import NDArray
from rows import image, instance
from sqlalchemy import Engine

from dicom_io.acceptance import Reason
from dicom_io.part10 import read_dataset
from worker import database, pipeline
from worker.one_look import OneLook
from worker.queries import images
from worker.reading import Refused, displayed
from worker.settings import Settings
from worker.states import ImageState


@dataclass
class Counted:
    """The shipped model, counting how it is asked."""

    predictor: Any
    asked: list[str] = field(default_factory=list)

    @property
    def info(self) -> Any:
        return self.predictor.info

    def examine(self, image_HW: NDArray[np.float32]) -> Any:
        self.asked.append("examine")
        return self.predictor.examine(image_HW)

    def __call__(self, image_HW: NDArray[np.float32]) -> Any:
        self.asked.append("judge")
        return self.predictor(image_HW)


@pytest.fixture(scope="module")
def gated() -> Any:
    from model.predict import Predictor

    predictor = Predictor(None, threads=1)
    assert predictor.info.gate_sha256, "the shipped model has a gate"
    return predictor


def wide(**header: Any) -> Any:
    return build_film(chest_HW(), WindowCenter=2048, WindowWidth=4096, **header)


def test_a_film_that_passes_is_judged_from_the_pass_that_the_gate_made(gated: Any) -> None:
    model = Counted(gated)
    look = OneLook(model)  # type: ignore[arg-type]
    image_HW = displayed(wide(), Settings(), look.gate)
    said = look.judge(image_HW)
    assert model.asked == ["examine"]
    assert said.probability == gated(image_HW).probability


def test_another_array_is_judged_by_a_pass_of_its_own(gated: Any) -> None:
    model = Counted(gated)
    look = OneLook(model)  # type: ignore[arg-type]
    image_HW = displayed(wide(), Settings(), look.gate)
    look.judge(image_HW.copy())
    assert model.asked == ["examine", "judge"]


def test_without_a_gate_the_header_decides_and_one_pass_judges(predictor: Any) -> None:
    model = Counted(predictor)
    look = OneLook(model)  # type: ignore[arg-type]
    image_HW = displayed(build_film(), Settings(), look.gate)
    look.judge(image_HW)
    assert look.gate is None
    assert model.asked == ["judge"]


def test_a_picture_that_is_no_film_is_refused_in_the_words_of_the_gate(gated: Any) -> None:
    look = OneLook(gated)
    with pytest.raises(Refused, match="expected an adult's frontal chest film") as refused:
        displayed(build_film(phantom_HW(), WindowCenter=2048, WindowWidth=4096), Settings(), look.gate)
    assert refused.value.refusal.reason in (Reason.NOT_CHEST, Reason.OUT_OF_DISTRIBUTION)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"BodyPartExamined": "HIP"}, Reason.HEADER_CONTRADICTED),
        ({"ViewPosition": "LL"}, Reason.HEADER_CONTRADICTED),
        ({"PhotometricInterpretation": "MONOCHROME1"}, Reason.POLARITY),
        ({"PatientAge": "005Y"}, Reason.CHILD),
    ],
)
def test_a_chest_whose_header_lies_is_told_by_its_pixels(
    gated: Any, header: dict[str, str], reason: Reason
) -> None:
    with pytest.raises(Refused) as refused:
        displayed(wide(**header), Settings(), OneLook(gated).gate)
    assert refused.value.refusal.reason == reason


def test_a_word_that_we_do_not_know_gives_way_to_the_gate(gated: Any) -> None:
    look = OneLook(gated)
    image_HW = displayed(wide(BodyPartExamined="KNIE"), Settings(), look.gate)
    assert 0.0 < look.judge(image_HW).probability < 1.0


NO_CHESTS = {
    "cr_modality_lut_jpegll.dcm": Reason.NOT_CHEST,
    # Refused, under the wrong name: the gate learned no hip.
    "hip_cr_fuji_jpeg12.dcm": Reason.LATERAL,
    "hip_cr_fuji_jpegll.dcm": Reason.LATERAL,
    "extremity_cr_fuji_j2k.dcm": Reason.NOT_CHEST,
    "hand_cr_kodak_j2k_bad_sot.dcm": Reason.NOT_CHEST,
    "chest_dx_fuji_mono1.dcm": Reason.NOT_CHEST,
}


@pytest.mark.parametrize(("name", "reason"), NO_CHESTS.items())
def test_a_real_film_with_its_header_blanked_is_refused_by_its_pixels(
    gated: Any, shared: Path, name: str, reason: Reason
) -> None:
    film = read_dataset(shared / "dicom" / name)
    for keyword in (
        "BodyPartExamined", "ViewPosition", "PatientOrientation", "StudyDescription", "SeriesDescription",
        "AnatomicRegionSequence", "ViewCodeSequence", "PatientAge", "PatientBirthDate", "ProtocolName",
    ):  # fmt: skip
        if keyword in film:
            del film[keyword]
    with pytest.raises(Refused) as refused:
        displayed(film, Settings(), OneLook(gated).gate)
    assert refused.value.refusal.reason == reason
    assert "by the pixels" in refused.value.refusal.detail


# Through the worker


def test_a_film_that_the_gate_refuses_ends_refused_and_says_why(
    make_context: Any, sqlite_engine: Engine, gated: Any
) -> None:
    context = make_context(sqlite_engine)
    context.__dict__["predictor"] = gated
    content = to_bytes(build_film(phantom_HW()))
    path = context.spool.incoming / "film.part"
    path.write_bytes(content)
    uid = str(build_film().SOPInstanceUID)
    stored = context.spool.adopt(path)
    with database.write(context.engine) as session:
        row = images.record(session, instance(uid, path), stored, actor="test")
        assert row is not None
        image_id = row.id

    pipeline.analyse(context, image_id)

    refused = image(context.engine, image_id)
    assert (refused.state, refused.reason) == (ImageState.REFUSED, "not_chest")
    assert "by the pixels" in str(refused.reason_detail)


def test_predict_asks_the_gate(command_line: Any, tmp_path: Path) -> None:
    chest, phantom = tmp_path / "chest.dcm", tmp_path / "phantom.dcm"
    build_film(chest_HW()).save_as(chest, enforce_file_format=True)
    build_film(phantom_HW()).save_as(phantom, enforce_file_format=True)
    code, output, _ = command_line("predict", "--json", str(chest), str(phantom))
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [(line["state"], line["reason"]) for line in lines] == [
        ("analysed", None),
        ("refused", "not_chest"),
    ]


def test_each_reason_of_the_gate_is_one_that_the_worker_knows() -> None:
    from model.gate import PARTS

    assert [Reason(part).value for part in PARTS] == list(PARTS)
