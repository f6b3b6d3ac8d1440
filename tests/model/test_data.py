"""Manifests and splits: patients and groups stay together, held-out families stay out."""

import logging
import resource
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import data
from model.config import LABELS, Config, DataConfig, two_heads
from model.data import Film
from model.run import Run
from model.sources import write_manifest
from model.subsets import choose_films

ManifestOf = Callable[[Sequence[dict[str, str]]], Path]
HELD = DataConfig(held_out_sources=("radiography", "hannover"), calibration_sources=("radiography",))

films = st.lists(
    st.builds(
        Film,
        path=st.uuids().map(str),
        label=st.sampled_from(LABELS),
        patient_id=st.sampled_from(["", "p1", "p2", "p3", "p4", "p5"]),
        source=st.sampled_from(["radiography", "hannover", "cohen", "rsna"]),
        view=st.sampled_from(["PA", "L"]),
        age_group=st.sampled_from(["unknown", "child"]),
        group=st.sampled_from(["", "g1", "g2", "g3", "g4", "g5", "g6"]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda film: film.path,
)


@settings(max_examples=150, deadline=None)
@given(films, st.integers(0, 5))
def test_a_split_never_parts_a_patient_or_a_group(drawn: list[Film], seed: int) -> None:
    subset_of = data.split_films(drawn, HELD, seed)

    for key in ("patient_id", "group"):
        seen = defaultdict(set)
        for film in drawn:
            if getattr(film, key) and film.path in subset_of:
                seen[getattr(film, key)].add(subset_of[film.path])
        assert all(len(subsets) == 1 for subsets in seen.values())
    data.check_split(drawn, subset_of, HELD)


@settings(max_examples=150, deadline=None)
@given(films)
def test_nothing_that_touches_a_held_out_family_is_trained_on(drawn: list[Film]) -> None:
    subset_of = data.split_films(drawn, HELD, 0)
    held = [film for film in drawn if film.source in HELD.held_out_sources]
    patients, groups = {film.patient_id for film in held} - {""}, {film.group for film in held} - {""}

    for film in drawn:
        if film in held or film.patient_id in patients or film.group in groups:
            assert subset_of.get(film.path, "test") in ("calibration", "test")


@settings(max_examples=50, deadline=None)
@given(films)
def test_exactly_the_films_that_may_be_used_get_a_subset(drawn: list[Film]) -> None:
    kept, reasons = data.leave_out(drawn, HELD)

    assert set(data.split_films(drawn, HELD, 0)) == {film.path for film in kept}
    assert len(kept) + sum(reasons.values()) == len(drawn)


def test_a_chain_of_patients_and_groups_is_one_unit() -> None:
    chain = [
        Film("a", "covid", patient_id="p1"),
        Film("b", "covid", patient_id="p1", group="g1"),
        Film("c", "covid", patient_id="p2", group="g1"),
        Film("d", "covid", patient_id="p3"),
        Film("e", "covid"),
        Film("f", "covid"),
    ]

    assert data.group_units(chain).tolist() == [0, 0, 0, 1, 2, 3]


def test_a_split_has_the_fractions_that_were_asked_for() -> None:
    many = [Film(str(n), "covid" if n % 4 else "normal", source="rsna") for n in range(1000)]

    counts = Counter(data.split_films(many, HELD, 0).values())

    assert abs(counts["train"] - 700) <= 3
    assert abs(counts["validation"] - 150) <= 3


def test_half_of_a_calibration_source_calibrates_unless_it_touches_another_held_out_source() -> None:
    many = [Film(f"r{n}", "covid", source="radiography") for n in range(100)]
    touching = [
        Film("r", "covid", source="radiography", group="g"),
        Film("h", "covid", source="hannover", group="g"),
    ]

    subset_of = data.split_films(many + touching, HELD, 0)

    assert Counter(subset_of[film.path] for film in many) == {"calibration": 50, "test": 50}
    assert [subset_of[film.path] for film in touching] == ["test", "test"]


def test_a_split_depends_on_its_seed_alone() -> None:
    many = [Film(str(n), "covid", source="rsna") for n in range(100)]

    assert data.split_films(many, HELD, 1) == data.split_films(many, HELD, 1)
    assert data.split_films(many, HELD, 1) != data.split_films(many, HELD, 2)


def test_a_given_split_that_parts_a_patient_is_refused() -> None:
    two = [Film("a", "covid", patient_id="p"), Film("b", "covid", patient_id="p")]

    with pytest.raises(ValueError, match="parts a patient or group: b"):
        data.check_split(two, {"a": "train", "b": "test"}, HELD)


def test_a_given_split_that_trains_on_a_held_out_group_is_refused() -> None:
    two = [Film("a", "covid", source="hannover", group="g"), Film("b", "covid", source="cohen", group="g")]

    with pytest.raises(ValueError, match="held-out patient or group: b"):
        data.check_split(two, {"b": "train"}, HELD)


@pytest.mark.parametrize("name", ["split.csv", "split.csv.gz"])
def test_a_split_file_can_be_given_back(name: str, tmp_path: Path) -> None:
    subset_of = {"a.png": "train", "b.png": "test"}
    data.write_split(tmp_path / name, subset_of)

    assert data.read_split(tmp_path / name) == subset_of


def test_a_split_file_with_an_unknown_subset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("path,subset\na.png,holdout\n")

    with pytest.raises(ValueError, match="holdout"):
        data.read_split(tmp_path / "split.csv")


@pytest.mark.parametrize(
    ("column", "one", "other", "read"),
    [("subset", "train", "test", data.read_split), ("fold", "0", "1", data.read_folds)],
)
def test_a_film_in_two_subsets_or_folds_is_refused(
    column: str, one: str, other: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "given.csv"
    path.write_text(f"path,{column}\na.png,{one}\na.png,{one}\nb.png,{one}\na.png,{other}\n")

    with pytest.raises(ValueError, match=rf"given\.csv, line 5: a\.png is in {column} {other} after"):
        read(path)


def test_a_split_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("path,subset\na.png,train\n", encoding="utf-8-sig")

    assert data.read_split(tmp_path / "split.csv") == {"a.png": "train"}


@pytest.mark.parametrize("damage", ["cut off", "altered", "no gzip"])
def test_a_damaged_split_file_is_told_in_words(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "split.csv.gz"
    data.write_split(path, {f"{n}.png": "train" for n in range(200)})
    whole = path.read_bytes()
    altered = whole[:10] + b"\xff" * 20 + whole[30:]
    path.write_bytes({"cut off": whole[:-20], "altered": altered, "no gzip": b"path,subset\n"}[damage])

    with pytest.raises(ValueError, match=r"split\.csv\.gz: expected a whole gzip file, came a damaged one"):
        data.read_split(path)


def test_films_that_a_given_split_does_not_name_are_counted(
    families: Path, small_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    films = data.read_manifest(families, LABELS)
    split = data.split_films(films, small_config.data, 0)
    unnamed = sorted(path for path, subset in split.items() if subset == "test")[:5]
    data.write_split(tmp_path / "given.csv", {p: s for p, s in split.items() if p not in unnamed})

    with caplog.at_level(logging.INFO):
        choose_films(small_config, Run(families, tmp_path, split=tmp_path / "given.csv"))

    assert f"5 of the {len(films)} films left are not in the split and take no part" in caplog.text


@pytest.mark.parametrize("name", ["split.csv", "manifest.csv"])
def test_a_full_disk_leaves_the_split_or_manifest_that_was_there(name: str, tmp_path: Path) -> None:
    def write(count: int) -> None:
        films = [Film(f"{n}.png", "covid") for n in range(count)]
        if name == "split.csv":
            data.write_split(tmp_path / name, {film.path: "train" for film in films})
        else:
            write_manifest(tmp_path / name, films)

    write(3)
    before = (tmp_path / name).read_bytes()
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files ends a write in the middle, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, largest[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, largest)

    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_unknown_label_is_an_error_that_names_it(manifest_of: ManifestOf) -> None:
    path = manifest_of([{"path": "a.png", "label": "covid"}, {"path": "b.png", "label": "influenza"}])

    with pytest.raises(ValueError, match="influenza"):
        data.read_manifest(path, LABELS)


def test_a_missing_manifest_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="columns path,label"):
        data.read_manifest(tmp_path / "none.csv", LABELS)


def test_a_manifest_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path\na.png\n")

    with pytest.raises(ValueError, match="label"):
        data.read_manifest(tmp_path / "manifest.csv", LABELS)


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "manifest.csv").write_bytes(text.encode(encoding))
    return folder / "manifest.csv"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('path,label,note\na.png,covid,"stray\nb.png,covid,\nc.png,normal,\n', 2),
        ('path,label,note\na.png,covid,\nb.png,covid,"stray\nc.png,normal,"dense"\n', 3),
        ('path,label,"note\na.png,covid,\n', 1),
    ],
)
def test_a_stray_quote_is_told_with_its_line_and_swallows_no_film(
    text: str, line: int, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"manifest\.csv, line {line}: expected CSV"):
        data.read_manifest(written(tmp_path, text), LABELS)


def test_a_comma_outside_quotes_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label,patient_id\na.png,covid,1\nb, front.png,covid,2\n")

    with pytest.raises(ValueError, match=r"manifest\.csv, line 3: expected 3 values, .*, came 4: .* quotes"):
        data.read_manifest(path, LABELS)


def test_empty_values_behind_the_last_column_are_passed_over(tmp_path: Path) -> None:
    (film,) = data.read_manifest(written(tmp_path, "path,label\na.png,covid,,\n"), LABELS)

    assert (film.path, film.label) == ("a.png", "covid")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label,label\na.png,covid,normal\n")

    with pytest.raises(
        ValueError, match=r"line 1: expected each column once, came \['label'\] more than once"
    ):
        data.read_manifest(path, LABELS)


@pytest.mark.parametrize(
    ("came", "meant"), [("PatientID", "patient_id"), ("Age-Group", "age_group"), ("VIEW", "view")]
)
def test_a_column_that_is_spelt_otherwise_is_not_passed_over(came: str, meant: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"path,label,{came},ward\na.png,covid,1,7\n")

    with pytest.raises(ValueError, match=f"expected the column {meant}, came {came}: rename it"):
        data.read_manifest(path, LABELS)


def test_a_manifest_that_is_no_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label,source\na.png,covid,x\nb.png,covid,Köln\n", "latin-1")

    with pytest.raises(ValueError, match=r"manifest\.csv, line 3: expected UTF-8, came the byte 0xf6"):
        data.read_manifest(path, LABELS)


def test_quotes_that_belong_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    text = '\ufeffpath,label,licence\r\n"a, b.png",covid,"see ""terms"""\r\n'

    (film,) = data.read_manifest(written(tmp_path, text), LABELS)

    assert (film.path, film.licence) == ("a, b.png", 'see "terms"')


def test_two_spellings_of_a_path_are_one_file(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label\na.png,covid\n./a.png,normal\nx/../b.png,covid\nc.png,covid\n")

    films = data.read_manifest(path, LABELS)

    assert [(film.path, film.ambiguous) for film in films] == [
        ("a.png", True), ("./a.png", True), ("x/../b.png", False), ("c.png", False),
    ]  # fmt: skip


@pytest.mark.parametrize("view", ["L", "l", "LL", "RL", "lateral", "LATERAL", "Left lateral", "left_lateral"])
def test_a_lateral_film_is_left_out_however_its_view_is_worded(view: str, tmp_path: Path) -> None:
    (film,) = data.read_manifest(written(tmp_path, f"path,label,view\na.png,covid,{view}\n"), LABELS)

    assert data.leave_out([film], DataConfig()) == ([], {"view L": 1})


@pytest.mark.parametrize("view", ["", "unknown", "PA", "AP", "AP_supine", "PA/LAT", "AP lateral decubitus"])
def test_a_frontal_view_stays_as_it_is_written(view: str, tmp_path: Path) -> None:
    (film,) = data.read_manifest(written(tmp_path, f"path,label,view\na.png,covid,{view}\n"), LABELS)

    assert film.view == view


def test_an_age_group_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    text = "path,label,age_group\na.png,covid,Child\nb.png,covid,adult\nc.png,covid,\n"
    known = data.read_manifest(written(tmp_path, text), LABELS)
    assert [film.age_group for film in known] == ["child", "adult", ""]

    with pytest.raises(ValueError, match=r"unknown age group \['paediatric'\], expected one of .*'child'"):
        data.read_manifest(written(tmp_path, text.replace("adult", "paediatric")), LABELS)


def test_children_laterals_unlabelled_and_ambiguous_films_are_left_out_and_counted(
    manifest_of: ManifestOf,
) -> None:
    path = manifest_of(
        [
            {"path": "a.png", "label": "covid", "view": "PA"},
            {"path": "b.png", "label": "covid", "view": "L"},
            {"path": "c.png", "label": "normal", "age_group": "child"},
            {"path": "d.png", "label": "unlabelled"},
            {"path": "e.png", "label": "covid", "patient_id": "p1"},
            {"path": "e.png", "label": "covid", "patient_id": "p2"},
        ]
    )

    kept, reasons = data.leave_out(data.read_manifest(path, LABELS), DataConfig())

    assert [film.path for film in kept] == ["a.png"]
    assert reasons == {
        "view L": 1,
        "age group child": 1,
        "label unlabelled": 1,
        "path given more than once": 2,
    }


def test_each_head_asks_only_the_films_of_its_family() -> None:
    asked = [
        Film("a", "pneumonia", source="rsna"),
        Film("b", "other", source="rsna"),
        Film("c", "covid", source="cohen"),
        Film("d", "pneumonia", source="cohen"),
        Film("e", "normal", source="cohen"),
        Film("f", "covid", source="darkcovidnet"),
        Film("g", "covid", source="radiography"),
    ]

    nan = np.nan
    expected = [[1, nan], [1, nan], [nan, 1], [nan, 0], [nan, nan], [nan, nan], [nan, nan]]
    np.testing.assert_array_equal(data.targets(asked, two_heads()), np.array(expected, np.float32))


def test_drawing_is_balanced_between_heads_answers_and_views() -> None:
    cohen = [Film(f"a{n}", "covid", source="cohen", view="AP") for n in range(60)]
    cohen += [Film(f"b{n}", "pneumonia", source="cohen", view="AP") for n in range(20)]
    cohen += [Film(f"c{n}", "covid", source="cohen", view="PA") for n in range(10)]
    cohen += [Film(f"d{n}", "pneumonia", source="cohen", view="PA") for n in range(70)]
    nih = [Film(f"e{n}", "pneumonia", source="rsna") for n in range(500)]
    nih += [Film(f"f{n}", "normal", source="rsna") for n in range(50)]
    drawn = cohen + nih + [Film("g", "covid", source="hannover")]

    weights = data.sampling_weights(drawn, two_heads())

    def mass(label: str, source: str, view: str = "") -> float:
        chosen = [f.label == label and f.source == source and f.view == view for f in drawn]
        return float(weights[chosen].sum())

    assert weights.sum() == pytest.approx(1)
    assert mass("pneumonia", "rsna") == pytest.approx(mass("normal", "rsna")) == pytest.approx(0.325)
    assert (
        mass("covid", "cohen", "AP")
        == pytest.approx(mass("pneumonia", "cohen", "AP"))
        == pytest.approx(0.0875)
    )
    assert (
        mass("covid", "cohen", "PA")
        == pytest.approx(mass("pneumonia", "cohen", "PA"))
        == pytest.approx(0.0875)
    )
    assert weights[-1] == 0


def test_a_view_with_one_answer_is_drawn_no_more_often_than_its_films_allow() -> None:
    drawn = [Film(f"a{n}", "covid", source="cohen", view="AP") for n in range(10)]
    drawn += [Film(f"b{n}", "pneumonia", source="cohen", view="AP") for n in range(20)]
    drawn += [Film(f"c{n}", "covid", source="cohen", view="AP_supine") for n in range(10)]

    weights = data.sampling_weights(drawn, two_heads())

    assert weights[:30].sum() == pytest.approx(0.75)
    assert weights[30:].sum() == pytest.approx(0.25)


def test_films_that_answer_no_head_cannot_train() -> None:
    with pytest.raises(ValueError, match="no training film"):
        data.sampling_weights([Film("a", "covid", source="hannover")], two_heads())
