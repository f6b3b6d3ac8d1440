"""What stands beside the figures of gate and audit is true of the sources that trained."""

from typing import Any

from model.reservations import in_words, kin_of_gate, of_audit, of_gate

GATE = {"reasons": {f"adult:{family}": {} for family in ("cohen", "hannover", "nih", "radiography")}}
LABELS = {"radiography": {"covid", "normal"}, "rsna": {"normal", "pneumonia"}}


def test_a_list_in_words_ends_with_and() -> None:
    assert [in_words(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip


def test_what_names_no_source_is_told_in_words() -> None:
    assert in_words(["", "b"]) == "films that name no source and b"
    (within,) = of_audit(audit(**{"": 40}), [""])
    assert "of films that name no source (n 40, trained)" in within


def test_a_family_that_trained_the_network_is_not_new_to_it() -> None:
    left_out, apart = of_gate(GATE, ["rsna:pneumonia", "cohen:covid"], LABELS)

    assert "trained on films of cohen and nih;" in left_out
    assert left_out.endswith("new to both, as far as copies are known: hannover and radiography.")
    assert apart == (
        "Adults of radiography are its films with the label covid alone; its normal films are "
        "counted with nih."
    )


def test_films_that_a_source_took_from_another_family_make_that_one_known() -> None:
    left_out, _ = of_gate(GATE, ["radiography:normal"], LABELS)
    assert "trained on films of nih;" in left_out

    left_out, _ = of_gate(GATE, ["radiography:covid"], LABELS)
    assert "trained on films of radiography;" in left_out


def test_films_without_a_source_are_known_by_the_name_that_the_gate_gives_them() -> None:
    (left_out,) = of_gate({"reasons": {"adult:here": {}, "adult:unknown": {}}}, ["all:covid"], {})

    assert "trained on films of unknown;" in left_out
    assert left_out.endswith("are known: here.")


def test_a_gate_of_one_family_or_of_strange_ones_needs_no_such_words() -> None:
    assert of_gate({"reasons": {"adult:cohen": {}, "child:radiography": {}}}, ["cohen:covid"], LABELS) == []
    strange = {"reasons": {"adult:here": {}, "adult:there": {}}}
    assert of_gate(strange, ["elsewhere:covid"], LABELS) == []
    (none,) = of_gate(strange, ["here:covid", "there:normal"], LABELS)
    assert none.endswith("are known: none.")


def test_sources_under_another_name_are_told_for_their_terms() -> None:
    cohen, nih = kin_of_gate(GATE)

    assert "Adults of cohen may also be films of darkcovidnet," in cohen
    assert "Adults of nih may also be films of rsna, nih14 and radiography (normal)," in nih


def audit(**within: int) -> dict[str, Any]:
    return {"by_source": {source: {"whole_auc": {"n": n}} for source, n in within.items()}}


def test_figures_within_sources_say_of_which_and_of_which_not() -> None:
    within, absent = of_audit(audit(darkcovidnet=91, radiography=1130), ["cohen", "rsna"])

    assert "darkcovidnet (n 91, put together from several places, trained nothing)" in within
    assert "radiography (n 1,130, put together from several places, trained nothing)" in within
    assert absent.startswith("Within cohen and rsna, which trained, nothing was audited")

    (alone,) = of_audit(audit(cohen=200), ["cohen"])
    assert alone == "Figures within sources are means, each source alike, of cohen (n 200, trained)."
    assert of_audit(audit(), []) == []
