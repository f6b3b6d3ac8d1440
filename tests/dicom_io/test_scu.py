"""Sending and asking, against a PACS that answers what the test tells it to."""

import socket
import time
from itertools import pairwise
from pathlib import Path

import pytest
from builders import CR_STORAGE, build_film, build_secondary_capture, phantom_HW, to_bytes
from parts import SOCKETS_LEFT, free_port, wait_until
from pydicom import FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, RLELossless
from result_sources import POSITIVE, spot_HW
from scripted_pacs import ABORT, EXPLICIT_LE, IMPLICIT_LE, ScriptedPacs

from dicom_io import scu
from dicom_io.association import associate
from dicom_io.capture import build_capture
from dicom_io.errors import DestinationError, Unanswered, Unreachable
from dicom_io.report import encode
from dicom_io.scu import Identity, Outcome, Target, outcome_of

pytestmark = SOCKETS_LEFT

PATIENCE_S = 20.0


def target_of(pacs: ScriptedPacs, timeout_s: float = PATIENCE_S) -> Target:
    return Target(pacs.aet, "127.0.0.1", pacs.port, "CXRWORKER", timeout_s)


def identity_of(dataset: FileDataset) -> Identity:
    return Identity(
        str(dataset.SOPClassUID),
        str(dataset.SOPInstanceUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.StudyInstanceUID),
        str(dataset.PatientID),
    )


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome.SENT),
        (0x0001, Outcome.AGAIN),
        (0x0110, Outcome.AGAIN),
        (0x0111, Outcome.DUPLICATE),
        (0x0112, Outcome.AGAIN),
        (0x0122, Outcome.NEVER),
        (0x0124, Outcome.AGAIN_ALARM),
        (0xA6FF, Outcome.AGAIN),
        (0xA700, Outcome.AGAIN),
        (0xA7FF, Outcome.AGAIN),
        (0xA8FF, Outcome.AGAIN),
        (0xA900, Outcome.NEVER),
        (0xA9FF, Outcome.NEVER),
        (0xAA00, Outcome.AGAIN),
        (0xB000, Outcome.SENT),
        (0xB001, Outcome.AGAIN),
        (0xB006, Outcome.SENT),
        (0xB007, Outcome.SENT),
        (0xBFFF, Outcome.AGAIN),
        (0xC000, Outcome.AGAIN_FOR_A_DAY),
        (0xCFFF, Outcome.AGAIN_FOR_A_DAY),
        (0xD000, Outcome.AGAIN),
        (0xFFFF, Outcome.AGAIN),
    ],
)
def test_each_status_has_its_outcome_also_at_the_edges_of_its_range(status: int, outcome: Outcome) -> None:
    assert outcome_of(status)[0] == outcome


def test_ranges_of_the_status_table_do_not_overlap() -> None:
    ranges = sorted((first, last) for first, last, _, _ in scu.STATUS_TABLE)
    assert all(first <= last for first, last in ranges)
    assert all(last < following for (_, last), (following, _) in pairwise(ranges))


def test_a_success_is_sent_and_the_object_arrives_whole() -> None:
    film = build_film()
    with ScriptedPacs.running() as pacs:
        answer = scu.store(target_of(pacs), to_bytes(film))
    assert (answer.status, answer.outcome) == (0x0000, Outcome.SENT)
    assert pacs.held[film.SOPInstanceUID] == film
    assert pacs.stores == [(film.SOPInstanceUID, EXPLICIT_LE)]
    assert pacs.callers == ["CXRWORKER"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0xB000, Outcome.SENT),
        (0x0111, Outcome.DUPLICATE),
        (0xA700, Outcome.AGAIN),
        (0x0124, Outcome.AGAIN_ALARM),
        (0xA900, Outcome.NEVER),
        (0xC000, Outcome.AGAIN_FOR_A_DAY),
    ],
)
def test_an_answer_that_came_over_the_wire_has_its_outcome(status: int, outcome: Outcome) -> None:
    with ScriptedPacs.running() as pacs:
        pacs.answers.append(status)
        answer = scu.store(target_of(pacs), to_bytes(build_film()))
    assert (answer.status, answer.outcome) == (status, outcome)


def test_the_comment_of_a_destination_is_kept() -> None:
    with ScriptedPacs.running(comment="archive is full") as pacs:
        pacs.answers.append(0xA700)
        answer = scu.store(target_of(pacs), to_bytes(build_film()))
    assert (answer.words, answer.comment) == ("refused: out of resources", "archive is full")
    assert answer.text == "0xA700 refused: out of resources: archive is full"


def test_a_hostile_comment_is_one_short_line() -> None:
    with ScriptedPacs.running(comment="two\nlines\x1b[31m" + "x" * 40) as pacs:
        pacs.answers.append(0xA700)
        answer = scu.store(target_of(pacs), to_bytes(build_film()))
    assert answer.comment.isprintable()
    assert len(answer.comment) <= 64


def test_a_duplicate_can_be_found_by_asking() -> None:
    film = build_film()
    with ScriptedPacs.running() as pacs:
        pacs.held[film.SOPInstanceUID] = film
        pacs.answers.append(0x0111)
        assert scu.store(target_of(pacs), to_bytes(film)).outcome == Outcome.DUPLICATE
        assert scu.find(target_of(pacs), identity_of(film)) == ()


def test_asking_for_what_is_not_there_finds_nothing() -> None:
    with ScriptedPacs.running() as pacs:
        assert scu.find(target_of(pacs), identity_of(build_film())) is None


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_what_a_peer_coerced_is_found_and_named(keyword: str) -> None:
    film = build_film()
    with ScriptedPacs.running() as pacs:
        pacs.held[film.SOPInstanceUID] = build_film(**{keyword: "1.2.3.4"})
        assert scu.find(target_of(pacs), identity_of(film)) == (keyword,)


def test_another_class_under_our_uid_is_no_proof() -> None:
    film = build_film()
    with ScriptedPacs.running() as pacs:
        pacs.held[film.SOPInstanceUID] = build_secondary_capture(SOPInstanceUID=film.SOPInstanceUID)
        with pytest.raises(DestinationError, match="under our UID"):
            scu.find(target_of(pacs), identity_of(film))


def test_a_failed_query_is_neither_yes_nor_no() -> None:
    with ScriptedPacs.running(find_status=0xA700) as pacs, pytest.raises(DestinationError, match="C-FIND"):
        scu.find(target_of(pacs), identity_of(build_film()))


def test_an_abort_in_place_of_an_answer_leaves_it_open() -> None:
    with ScriptedPacs.running() as pacs:
        pacs.answers.append(ABORT)
        with pytest.raises(Unanswered, match="expected an answer to C-STORE"):
            scu.store(target_of(pacs), to_bytes(build_film()))


def test_an_abort_right_after_the_association_is_a_destination_error() -> None:
    film = build_film()
    with ScriptedPacs.running(abort_when_accepted=True) as pacs:
        for _ in range(5):
            with pytest.raises(DestinationError):
                scu.store(target_of(pacs), to_bytes(film))
            with pytest.raises(DestinationError):
                scu.find(target_of(pacs), identity_of(film))
            assert scu.echo(target_of(pacs)) is False


def store_after_the_abort(target: Target) -> None:
    with associate(target, [(CR_STORAGE, EXPLICIT_LE)]) as association:
        wait_until(lambda: not association.is_established, "the abort to arrive")
        association.send_c_store(build_film())


def test_an_association_that_ended_before_it_was_used_is_a_destination_error() -> None:
    with ScriptedPacs.running(abort_when_accepted=True) as pacs, pytest.raises(DestinationError):
        store_after_the_abort(target_of(pacs))


def test_a_refused_sop_class_is_never_sent() -> None:
    with ScriptedPacs.running(storable=()) as pacs:
        answer = scu.store(target_of(pacs), to_bytes(build_film()))
    assert answer.outcome == Outcome.NEVER
    assert pacs.stores == []


def test_a_peer_without_query_cannot_be_asked() -> None:
    """It accepts the association and nothing in it: a question without an answer, no 'not there'."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        target = Target("PACS", "127.0.0.1", silent.getsockname()[1], "CXRWORKER", timeout_s=1)
        with pytest.raises(DestinationError):
            scu.find(target, identity_of(build_film()))


def test_a_peer_that_knows_implicit_alone_gets_implicit() -> None:
    film = build_film()
    with ScriptedPacs.running(syntaxes=(IMPLICIT_LE,)) as pacs:
        answer = scu.store(target_of(pacs), to_bytes(film))
    assert answer.outcome == Outcome.SENT
    assert pacs.stores == [(film.SOPInstanceUID, IMPLICIT_LE)]
    assert pacs.held[film.SOPInstanceUID].PixelData == film.PixelData


@pytest.mark.parametrize(
    ("taken", "sent"),
    [
        ((RLELossless, EXPLICIT_LE, IMPLICIT_LE), RLELossless),
        ((EXPLICIT_LE, IMPLICIT_LE), EXPLICIT_LE),
        ((IMPLICIT_LE,), IMPLICIT_LE),
    ],
)
def test_a_heat_map_goes_out_compressed_where_that_is_taken_and_plain_elsewhere(
    taken: tuple[str, ...], sent: str
) -> None:
    capture = build_capture(build_film(), phantom_HW(), spot_HW(), POSITIVE)
    with ScriptedPacs.running(syntaxes=taken) as pacs:
        assert scu.store(target_of(pacs), encode(capture)).outcome == Outcome.SENT
    assert pacs.stores == [(capture.SOPInstanceUID, sent)]
    held = FileDataset(None, pacs.held[capture.SOPInstanceUID])
    held.file_meta = FileMetaDataset()
    held.file_meta.TransferSyntaxUID = UID(sent)
    assert (held.pixel_array == capture.pixel_array).all()


def test_a_closed_port_is_a_destination_error_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="nobody answers"):
        scu.store(Target("PACS", "127.0.0.1", free_port(), "CXRWORKER", 5.0), to_bytes(build_film()))
    assert time.monotonic() - began < 5


def test_a_host_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        scu.store(Target("PACS", "no-such-host.invalid", 104, "CXRWORKER", 5.0), to_bytes(build_film()))


def test_a_silent_peer_is_a_destination_error_within_its_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        target = Target("PACS", "127.0.0.1", silent.getsockname()[1], "CXRWORKER", timeout_s=1)
        began = time.monotonic()
        with pytest.raises(Unreachable):
            scu.store(target, to_bytes(build_film()))
        assert 0.9 < time.monotonic() - began < 10


def test_a_file_is_sent_in_its_own_syntax(tmp_path: Path) -> None:
    film = build_film()
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    with ScriptedPacs.running() as pacs:
        assert scu.send_file(target_of(pacs), tmp_path / "film.dcm").outcome == Outcome.SENT
    assert pacs.stores == [(film.SOPInstanceUID, EXPLICIT_LE)]


def test_a_file_goes_out_in_the_form_that_is_taken(tmp_path: Path) -> None:
    film = build_film()
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    with ScriptedPacs.running(syntaxes=(IMPLICIT_LE,)) as pacs:
        assert scu.send_file(target_of(pacs), tmp_path / "film.dcm").outcome == Outcome.SENT
    assert pacs.stores == [(film.SOPInstanceUID, IMPLICIT_LE)]


def test_an_echo_is_answered_by_who_is_there() -> None:
    with ScriptedPacs.running() as pacs:
        assert scu.echo(target_of(pacs)) is True
    assert scu.echo(target_of(pacs, timeout_s=2)) is False
