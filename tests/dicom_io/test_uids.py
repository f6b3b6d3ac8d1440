"""Derived UIDs: the same object twice has one UID, two objects never share one."""

from dataclasses import replace

import pytest
from pydicom.uid import UID

from dicom_io.uids import IMPLEMENTATION_CLASS_UID, Kind, UidSource, derived_uid, device_observer_uid

SOURCE = UidSource(
    source_sop_instance_uid="1.2.3",
    model_name="net",
    model_version="1.0",
    weights_sha256="ab" * 32,
    kind=Kind.REPORT,
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
    profile="default",
)


def test_the_same_source_gives_the_same_uid() -> None:
    assert derived_uid(SOURCE) == derived_uid(replace(SOURCE))


def test_the_uid_of_a_known_source_never_changes() -> None:
    """A PACS keeps one object because a repeat has its UID, after an upgrade of cxr-worker too."""
    assert derived_uid(SOURCE) == "2.25.208013201264654724732073112164730410357"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source_sop_instance_uid", "1.2.4"),
        ("model_name", "other"),
        ("model_version", "1.1"),
        ("weights_sha256", "cd" * 32),
        ("kind", Kind.HEAT_MAP),
        ("sop_class_uid", "1.2.840.10008.5.1.4.1.1.88.33"),
        ("profile", "basic-text"),
        ("reissue_hash", "ef" * 32),
        ("reissue_hash", ""),
    ],
)
def test_every_part_of_the_source_changes_the_uid(field: str, value: str) -> None:
    assert derived_uid(replace(SOURCE, **{field: value})) != derived_uid(SOURCE)


def test_a_separator_in_a_name_makes_no_two_sources_alike() -> None:
    one = replace(SOURCE, model_name="a|b", model_version="c")
    other = replace(SOURCE, model_name="a", model_version="b|c")
    assert derived_uid(one) != derived_uid(other)


def test_uids_are_valid() -> None:
    for uid in (derived_uid(SOURCE), device_observer_uid("node-1"), IMPLEMENTATION_CLASS_UID):
        assert uid.startswith("2.25.")
        assert UID(uid).is_valid


def test_each_node_has_its_own_observer_uid() -> None:
    assert device_observer_uid("node-1") != device_observer_uid("node-2")
