"""The Conformance Statement: its tables are the code's, and its sections the standard's."""

import re

import pytest
from parts import ROOT

from dicom_io import codes
from worker import conformance

PAGE = (ROOT / "docs" / "conformance.md").read_text("utf-8")
SECTIONS = (
    "1 Overview",
    "1.1 Content and transfer",
    "1.1.1 Structured Reporting root template IDs",
    "1.2 DIMSE services",
    "1.3 DICOM Web Services",
    "1.4 Media services",
    "1.5 Real-Time Video service",
    "1.6 De-identification profiles",
    "1.7 Specific Character Sets",
    "2 Table of contents",
    "3 Introduction",
    "4 Implementation model",
    "5 Service and interoperability description",
    "6 Configuration",
    "7 Network and media communication details",
    "8 Security",
)
"""Headings of PS3.2 annex N, in its order."""


def test_every_table_is_as_the_code_has_it() -> None:
    assert conformance.render(PAGE) == PAGE, "run `python -m worker.conformance docs/conformance.md`"


@pytest.mark.parametrize("name", conformance.TABLES)
def test_every_table_stands_in_the_page_once(name: str) -> None:
    assert PAGE.count(f"<!-- table: {name} -->") == 1


def test_the_sections_are_those_of_the_standards_template_in_order() -> None:
    headings = re.findall(r"^#+ (\d.*)$", PAGE, re.MULTILINE)
    places = [headings.index(section) for section in SECTIONS]
    assert places == sorted(places)


def test_a_status_that_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    table = conformance.scu.STATUS_TABLE
    monkeypatch.setattr(conformance.scu, "STATUS_TABLE", table[1:])
    assert conformance.render(PAGE) != PAGE


def test_every_code_of_our_own_scheme_is_listed() -> None:
    own = {code.value for code in codes.REFUSAL.values() if code.scheme_designator == codes.OWN_SCHEME}
    assert own
    assert all(f"| {value} |" in PAGE for value in own | {codes.PROBABILITY_OF_COVID_19.value})


def test_a_page_that_asks_for_an_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        conformance.render("<!-- table: nothing -->\n<!-- end -->")
