"""The tables of states: what is listed happens, nothing else, and every image can reach an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.states import (
    CLAIMABLE,
    DELIVERY_TRANSITIONS,
    IMAGE_ENDS,
    IMAGE_TRANSITIONS,
    DeliveryState,
    ForbiddenTransition,
    ImageState,
    check_delivery,
    check_image,
)

DOCUMENTED_PATH = ["received", "queued", "analysing", "analysed"]
DOCUMENTED_ENDS = ["reported", "refused", "dead"]


def test_the_names_are_the_documented_ones() -> None:
    assert [state.value for state in ImageState] == DOCUMENTED_PATH + DOCUMENTED_ENDS
    assert {state.value for state in IMAGE_ENDS} == set(DOCUMENTED_ENDS)
    assert [state.value for state in DeliveryState] == ["due", "sent", "confirmed", "dead"]


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(IMAGE_TRANSITIONS) == set(ImageState)
    assert set(DELIVERY_TRANSITIONS) == set(DeliveryState)


@pytest.mark.parametrize("before", ImageState)
@pytest.mark.parametrize("after", ImageState)
def test_an_image_makes_the_listed_changes_alone(before: ImageState, after: ImageState) -> None:
    listed = {
        ("received", "queued"),
        ("received", "analysing"),
        ("received", "dead"),
        ("queued", "analysing"),
        ("queued", "dead"),
        ("analysing", "queued"),
        ("analysing", "analysed"),
        ("analysing", "reported"),
        ("analysing", "refused"),
        ("analysing", "dead"),
        ("analysed", "reported"),
        ("analysed", "dead"),
        ("reported", "queued"),
        ("refused", "queued"),
        ("dead", "queued"),
        ("dead", "analysed"),
    }
    if (before.value, after.value) in listed:
        check_image(before, after)
    else:
        with pytest.raises(ForbiddenTransition, match=f"image: {before} → {after}"):
            check_image(before, after)


@pytest.mark.parametrize("before", DeliveryState)
@pytest.mark.parametrize("after", DeliveryState)
def test_a_delivery_makes_the_listed_changes_alone(before: DeliveryState, after: DeliveryState) -> None:
    listed = {
        ("due", "due"),
        ("due", "sent"),
        ("due", "confirmed"),
        ("due", "dead"),
        ("sent", "due"),
        ("sent", "confirmed"),
        ("sent", "dead"),
        ("dead", "due"),
    }
    if (before.value, after.value) in listed:
        check_delivery(before, after)
    else:
        with pytest.raises(ForbiddenTransition, match=f"delivery: {before} → {after}"):
            check_delivery(before, after)


@given(st.lists(st.sampled_from(ImageState), max_size=60))
def test_a_random_walk_of_an_image_never_leaves_the_table(wishes: list[ImageState]) -> None:
    """Whatever is asked, what is granted is in the table; only a reissue leaves reported and refused."""
    here = ImageState.RECEIVED
    for wish in wishes:
        try:
            check_image(here, wish)
        except ForbiddenTransition:
            assert wish not in IMAGE_TRANSITIONS[here]
            continue
        assert here not in (ImageState.REPORTED, ImageState.REFUSED) or wish == ImageState.QUEUED
        assert wish != here
        assert wish != ImageState.RECEIVED
        here = wish


@given(st.lists(st.sampled_from(DeliveryState), max_size=60))
def test_a_random_walk_of_a_delivery_never_leaves_the_table(wishes: list[DeliveryState]) -> None:
    here = DeliveryState.DUE
    for wish in wishes:
        try:
            check_delivery(here, wish)
        except ForbiddenTransition:
            assert wish not in DELIVERY_TRANSITIONS[here]
            continue
        assert here != DeliveryState.CONFIRMED
        here = wish


@pytest.mark.parametrize("start", ImageState)
def test_an_end_can_be_reached_from_every_state(start: ImageState) -> None:
    reached, waiting = {start}, [start]
    while waiting:
        for after in IMAGE_TRANSITIONS[waiting.pop()] - reached:
            reached.add(after)
            waiting.append(after)
    assert reached & IMAGE_ENDS


def test_work_is_what_is_neither_at_its_end_nor_with_its_deliveries() -> None:
    assert frozenset(ImageState) - IMAGE_ENDS - {ImageState.ANALYSED} == CLAIMABLE
    assert all(ImageState.ANALYSING in IMAGE_TRANSITIONS[state] for state in CLAIMABLE - {"analysing"})
