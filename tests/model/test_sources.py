"""Films come from a folder per label, a tree of DICOM files or a public data set as it is downloaded."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

from dicom_io.errors import NotDicom
from dicom_io.part10 import MAX_FILE_BYTES
from dicom_io.pixels import read_pixels
from model import manifests
from model.config import LABELS, DataConfig
from model.manifest import Film, leave_out, read_manifest
from model.phantom import LABELS as PHANTOM_LABELS
from model.phantom import draw, main
from model.sources import dicom_tree, folder_per_class
from model.transforms import load_film


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((draw("normal", 0, side_px=32) * 255).astype(np.uint8)).save(path)


def table(path: Path, *rows: dict[str, str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def dicom(path: Path, patient: str, view: str = "", **header: object) -> Dataset:
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    film.StudyInstanceUID, film.SeriesInstanceUID = generate_uid(), generate_uid()
    film.PatientID, film.ViewPosition, film.Modality = patient, view, "CR"
    for keyword, value in header.items():
        setattr(film, keyword, value)
    film.Rows = film.Columns = 64
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.PixelData = (draw("covid", 1, side_px=64) * 4095).astype(np.uint16).tobytes()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save_as(path, enforce_file_format=True)
    return film


def test_a_folder_per_label_is_read_whatever_its_case(tmp_path: Path) -> None:
    picture(tmp_path / "COVID" / "deep" / "b.png")
    picture(tmp_path / "normal" / "a.jpg")
    dicom(tmp_path / "normal" / "without-ending", "p")
    (tmp_path / "normal" / "notes.txt").write_text("no film")

    films = folder_per_class(tmp_path, LABELS)

    assert [(film.path, film.label) for film in films] == [
        ("COVID/deep/b.png", "covid"),
        ("normal/a.jpg", "normal"),
        ("normal/without-ending", "normal"),
    ]
    assert load_film(tmp_path / films[2].path).shape == (64, 64)
    assert films[0] == Film("COVID/deep/b.png", "covid")


def test_what_is_no_film_is_counted_and_a_hidden_file_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "covid" / "a.png")
    picture(tmp_path / "beside.png")
    picture(tmp_path / ".elsewhere" / "far.png")
    (tmp_path / "covid" / "._a.png").write_bytes(b"what another system keeps of the file")
    (tmp_path / "covid" / "b.tif").write_bytes(b"TIFF")
    (tmp_path / "covid" / "site").symlink_to(tmp_path / ".elsewhere", target_is_directory=True)

    films = folder_per_class(tmp_path, LABELS)

    assert [film.path for film in films] == ["covid/a.png"]
    assert "3 entries of" in caplog.text
    for kind in ("'.tif': 1", "'linked folder': 1", "'in no folder of a label': 1"):
        assert kind in caplog.text


def view_code(value: str) -> list[Dataset]:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", "view"
    return [code]


@pytest.mark.parametrize(
    ("header", "view", "age"),
    [
        ({}, "unknown", "unknown"),
        ({"ViewPosition": "AP", "PatientAge": "018Y"}, "AP", "adult"),
        ({"ViewPosition": "LL", "PatientAge": "017Y"}, "L", "child"),
        ({"ViewPosition": "lateral", "PatientAge": "011M"}, "L", "child"),
        ({"ViewPosition": "LEFT_LATERAL", "PatientAge": "003W"}, "L", "child"),
        ({"ViewCodeSequence": view_code("399067008"), "PatientAge": "020D"}, "L", "child"),
        ({"ViewCodeSequence": view_code("399348003"), "PatientAge": "62"}, "unknown", "adult"),
        ({"PatientOrientation": ["A", "F"], "PatientAge": "old"}, "L", "unknown"),
        ({"PatientOrientation": ["L", "F"], "PatientBirthDate": "20100101", "StudyDate": "20200101"},
         "unknown", "child"),
    ],
)  # fmt: skip
def test_a_dicom_film_takes_patient_view_and_age_from_its_header(
    header: dict[str, object], view: str, age: str, tmp_path: Path
) -> None:
    dicom(tmp_path / "covid" / "a.dcm", "p1", **header)
    table(tmp_path / "labels.csv", {"path": "covid/a.dcm", "label": "covid"})

    with disable_value_validation():
        (by_folder,) = folder_per_class(tmp_path, LABELS)
        (by_table,) = dicom_tree(tmp_path, tmp_path / "labels.csv", LABELS)

    assert by_folder == by_table == Film("covid/a.dcm", "covid", "p1", view=view, age_group=age)


def test_what_a_dicom_film_is_left_out_by_survives_the_manifest(tmp_path: Path) -> None:
    dicom(tmp_path / "covid" / "frontal.dcm", "p1", "PA", PatientAge="060Y")
    dicom(tmp_path / "covid" / "lateral.dcm", "p1", "RL", PatientAge="060Y")
    dicom(tmp_path / "normal" / "child.dcm", "p2", "PA", PatientAge="006Y")

    assert manifests.main(["folders", str(tmp_path)]) == 0

    kept, reasons = leave_out(read_manifest(tmp_path / "manifest.csv", LABELS), DataConfig())
    assert [(film.path, film.patient_id) for film in kept] == [("covid/frontal.dcm", "p1")]
    assert reasons == {"view L": 1, "age group child": 1}


def test_a_folder_named_after_no_label_is_an_error(tmp_path: Path) -> None:
    picture(tmp_path / "influenza" / "a.png")

    with pytest.raises(ValueError, match=r"influenza.*named after no label"):
        folder_per_class(tmp_path, LABELS)


@pytest.mark.parametrize("key", ["path", "sop_instance_uid", "study_instance_uid", "patient_id"])
def test_a_tree_of_dicom_files_takes_its_labels_from_a_table(key: str, tmp_path: Path) -> None:
    film = dicom(tmp_path / "study" / "IM0001", "p1", "AP")
    dicom(tmp_path / "study" / "IM0002", "p2")
    value = {
        "path": "study/IM0001",
        "sop_instance_uid": film.SOPInstanceUID,
        "study_instance_uid": film.StudyInstanceUID,
        "patient_id": "p1",
    }[key]
    table(tmp_path / "labels.csv", {key: value, "label": "covid"})

    (found,) = dicom_tree(tmp_path, tmp_path / "labels.csv", LABELS)

    assert (found.path, found.label, found.patient_id, found.view) == ("study/IM0001", "covid", "p1", "AP")
    # As the worker reads the same film.
    np.testing.assert_array_equal(load_film(tmp_path / found.path), read_pixels(film))


def test_a_table_by_patient_takes_radiographs_alone_and_tells_what_it_leaves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dicom(tmp_path / "film", "p1")
    dicom(tmp_path / "slice", "p1", Modality="CT")
    dicom(tmp_path / "other", "p3")
    (tmp_path / "._film.dcm").write_bytes(b"what another system keeps of the file")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "film").symlink_to(tmp_path / "film")
    rows = [{"patient_id": patient, "label": "covid"} for patient in ("p1", "secret-2")]
    table(tmp_path / "labels.csv", *rows)

    (found,) = dicom_tree(tmp_path, tmp_path / "labels.csv", LABELS)

    assert found.path == "film"
    assert "1 of the 2 rows of labels.csv name no file by their patient_id" in caplog.text
    assert "2 DICOM files are passed over: {'no label': 1, 'modality CT': 1}" in caplog.text
    assert "secret" not in caplog.text


def test_a_dicom_file_that_is_none_is_told_by_its_name(tmp_path: Path) -> None:
    dicom(tmp_path / "good.dcm", "p1")
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM at all" * 20)
    table(tmp_path / "labels.csv", {"path": "good.dcm", "label": "covid"})

    with pytest.raises(NotDicom, match=r"expected a DICOM file"):
        load_film(tmp_path / "broken.dcm")
    with pytest.raises(NotDicom, match=r"expected a DICOM file, broken\.dcm is none"):
        dicom_tree(tmp_path, tmp_path / "labels.csv", LABELS)


def test_a_deflated_film_is_not_inflated_without_end(tmp_path: Path) -> None:
    film = dicom(tmp_path / "film.dcm", "p1")
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    film.add_new(0x00091010, "OB", bytes(MAX_FILE_BYTES + 2))
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    assert (tmp_path / "film.dcm").stat().st_size < MAX_FILE_BYTES / 100

    with pytest.raises(NotDicom, match="it inflates to more"):
        load_film(tmp_path / "film.dcm")


def test_a_table_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    table(
        tmp_path / "labels.csv",
        {"patient_id": "p1", "label": "covid"},
        {"patient_id": "p1", "label": "normal"},
    )

    with pytest.raises(ValueError, match="a patient_id has two labels"):
        dicom_tree(tmp_path, tmp_path / "labels.csv", LABELS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient_id,label\np1,covid\n,normal\n", r"labels\.csv, line 3: the label normal has no patient_id"),
        ("patient_id,label\np1\n", r"labels\.csv, line 2: expected 2 values, .* came fewer"),
        ("label,patient_id\ncovid\n", r"labels\.csv, line 2: expected 2 values, .* came fewer"),
        ('patient_id,label,note\np1,covid,"x\np2,covid,\n', r"labels\.csv, line 2: expected CSV"),
    ],
)
def test_a_row_that_labels_nothing_certain_is_refused(text: str, message: str, tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", "")
    (tmp_path / "labels.csv").write_text(text)

    with pytest.raises(ValueError, match=message):
        dicom_tree(tmp_path, tmp_path / "labels.csv", LABELS)


def test_a_row_of_a_table_that_is_all_empty_is_passed_over(tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", "p1")
    dicom(tmp_path / "b.dcm", "")
    (tmp_path / "labels.csv").write_text("patient_id,label\np1,covid\n,\n")

    assert [film.path for film in dicom_tree(tmp_path, tmp_path / "labels.csv", LABELS)] == ["a.dcm"]


def test_a_table_without_a_key_is_refused(tmp_path: Path) -> None:
    table(tmp_path / "labels.csv", {"name": "x", "label": "covid"})

    with pytest.raises(ValueError, match="expected the column label and one of"):
        dicom_tree(tmp_path, tmp_path / "labels.csv", LABELS)


def test_a_label_that_does_not_exist_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dicom(tmp_path / "a.dcm", "p1")
    dicom(tmp_path / "b.dcm", "p2")
    table(
        tmp_path / "labels.csv",
        {"path": "a.dcm", "label": "covid"},
        {"path": "b.dcm", "label": "influenza"},
        {"path": "c.dcm", "label": ""},
    )

    with pytest.raises(SystemExit) as ended:
        manifests.main(["dicom", str(tmp_path), "--labels", str(tmp_path / "labels.csv")])

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"labels.csv: unknown label ['influenza'], expected one of {list(LABELS)}" in said
    assert not (tmp_path / "manifest.csv").exists()


def test_films_of_ones_own_get_the_source_that_is_named(tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", "p1")
    table(tmp_path / "labels.csv", {"path": "a.dcm", "label": "covid"})

    arguments = ["dicom", str(tmp_path), "--labels", str(tmp_path / "labels.csv"), "--source", "ours"]
    assert manifests.main(arguments) == 0

    (film,) = read_manifest(tmp_path / "manifest.csv", LABELS)
    assert (film.source, film.patient_id) == ("ours", "p1")


def ends_in_words(capsys: pytest.CaptureFixture[str], command: Callable[..., int], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        command(list(words))
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--out"]])
def test_a_table_of_labels_is_not_written_over(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dicom(tmp_path / "a.dcm", "p1")
    labels = tmp_path / "manifest.csv"
    table(labels, {"path": "a.dcm", "label": "covid", "read_by": "two readers"})
    before = labels.read_bytes()
    out = [word for option in more for word in (option, str(labels))]

    said = ends_in_words(capsys, manifests.main, "dicom", str(tmp_path), "--labels", str(labels), *out)

    assert "manifest.csv is the table of labels itself: name another file by --out" in said
    assert labels.read_bytes() == before


def test_a_manifest_made_by_hand_is_written_over_only_where_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "covid" / "a.png")
    out = tmp_path / "manifest.csv"
    out.write_text("path,label,patient_id\ncovid/a.png,covid,p1\n")
    before = out.read_bytes()

    said = ends_in_words(capsys, manifests.main, "folders", str(tmp_path))

    assert "manifest.csv is there already" in said
    assert "name where to write by --out" in said
    assert out.read_bytes() == before
    assert manifests.main(["folders", str(tmp_path), "--out", str(out)]) == 0
    assert out.read_bytes() != before
    # What the command itself wrote may be written again.
    assert manifests.main(["folders", str(tmp_path)]) == 0


# Public data sets, each laid out as it is downloaded


def radiography(root: Path) -> None:
    for folder in ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"):
        picture(root / folder / "images" / f"{folder}-1.png")
        picture(root / folder / "masks" / f"{folder}-1.png")


def cohen(root: Path) -> None:
    row = {
        "patientid": "7",
        "age": "60",
        "view": "PA",
        "modality": "X-ray",
        "folder": "images",
        "license": "CC0",
    }
    rows = [
        row | {"finding": "Pneumonia/Viral/COVID-19", "filename": "a.jpg"},
        row | {"finding": "Pneumonia/Bacterial", "filename": "b.jpg", "view": "AP Supine"},
        row | {"finding": "No Finding", "filename": "c.jpg", "age": "9"},
        row | {"finding": "todo", "filename": "d.jpg", "view": "L"},
        row | {"finding": "Tuberculosis", "filename": "e.jpg"},
        row | {"finding": "Pneumonia", "filename": "f.jpg", "modality": "CT"},
        row | {"finding": "Pneumonia", "filename": "lost.jpg"},
    ]
    table(root / "metadata.csv", *rows)
    for name in "abcdef":
        picture(root / "images" / f"{name}.jpg")


def rsna(root: Path) -> None:
    classes = {"p1": "Lung Opacity", "p2": "Normal", "p3": "No Lung Opacity / Not Normal"}
    table(
        root / "stage_2_detailed_class_info.csv",
        *({"patientId": name, "class": kind} for name, kind in (*classes.items(), ("p1", "Lung Opacity"))),
    )
    for name in classes:
        dicom(root / "stage_2_train_images" / f"{name}.dcm", name)


def hannover(root: Path) -> None:
    table(root / "data.csv", {"patient_id": "04", "image_id": "b3", "projection": "ap"})
    picture(root / "png" / "b3.png")


def darkcovidnet(root: Path) -> None:
    picture(root / "X-Ray Image DataSet" / "Covid-19" / "x.png")
    picture(root / "X-Ray Image DataSet" / "No_findings" / "00001280_004.png")
    picture(root / "X-Ray Image DataSet" / "Pneumonia" / "00000061_012.png")


def folders(root: Path) -> None:
    picture(root / "covid" / "a.png")


EXPECTED = {
    radiography: [
        ("covid", "", "unknown"),
        ("normal", "", "unknown"),
        ("pneumonia", "", "unknown"),
        ("pneumonia", "", "child"),
    ],
    cohen: [
        ("covid", "cohen-7", "unknown"),
        ("pneumonia", "cohen-7", "unknown"),
        ("normal", "cohen-7", "child"),
        ("unlabelled", "cohen-7", "unknown"),
        ("other", "cohen-7", "unknown"),
    ],
    rsna: [
        ("pneumonia", "rsna-p1", ""),
        ("normal", "rsna-p2", ""),
        ("other", "rsna-p3", ""),
    ],
    hannover: [("covid", "hannover-04", "")],
    darkcovidnet: [
        ("covid", "", ""),
        ("pneumonia", "nih14-00000061", ""),
        ("normal", "nih14-00001280", ""),
    ],
    folders: [("covid", "", "")],
}


@pytest.mark.parametrize("lay_out", EXPECTED, ids=lambda lay_out: lay_out.__name__)
def test_a_public_data_set_becomes_a_manifest(lay_out: object, tmp_path: Path) -> None:
    lay_out(tmp_path)  # type: ignore[operator]

    assert manifests.main([lay_out.__name__, str(tmp_path)]) == 0  # type: ignore[attr-defined]

    films = read_manifest(tmp_path / "manifest.csv", LABELS)
    assert [(film.label, film.patient_id, film.age_group) for film in films] == EXPECTED[lay_out]  # type: ignore[index]
    assert all((tmp_path / film.path).is_file() for film in films)


def test_every_data_set_is_tested_and_documented() -> None:
    assert {lay_out.__name__ for lay_out in EXPECTED} == set(manifests.DATASETS)
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    assert all(f"python -m model.manifests {name} " in text for name in manifests.DATASETS)


def test_a_folder_that_holds_another_data_set_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, message in (("cohen", "no metadata.csv"), ("darkcovidnet", "no film of darkcovidnet")):
        with pytest.raises(SystemExit) as ended:
            manifests.main([name, str(tmp_path)])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


# Phantoms


def test_a_phantom_depends_on_its_arguments_alone_and_classes_look_different() -> None:
    films = {label: draw(label, 3) for label in PHANTOM_LABELS}

    np.testing.assert_array_equal(draw("covid", 3), films["covid"])
    assert not np.array_equal(draw("covid", 4), films["covid"])
    lungs = {label: film[100:200].mean() for label, film in films.items()}
    assert lungs["normal"] < lungs["covid"]
    assert lungs["normal"] < lungs["pneumonia"]
    assert films["covid"].dtype == np.float32
    assert 0 <= films["covid"].min() < films["covid"].max() <= 1


def test_the_command_draws_films_of_every_class_with_patients(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--films", "12"]) == 0

    films = read_manifest(tmp_path / "manifest.csv", LABELS)
    assert [film.label for film in films] == ["covid"] * 2 + ["pneumonia"] * 2 + ["normal"] * 2 + [
        "covid"
    ] * 2 + ["pneumonia"] * 2 + ["normal"] * 2
    assert len({film.patient_id for film in films}) == 6
    assert load_film(tmp_path / films[0].path).shape == (256, 256)
    assert main(["--out", str(tmp_path), "--films", "12"]) == 0


@pytest.mark.parametrize("there", ["manifest.csv", "covid/00001.png"])
def test_phantoms_are_not_drawn_over_what_is_there(
    there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("path,label\nmine.png,covid\n")

    said = ends_in_words(capsys, main, "--out", str(tmp_path), "--films", "12")

    assert f"{there} is there already" in said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / there]
    assert (tmp_path / there).read_text() == "path,label\nmine.png,covid\n"
