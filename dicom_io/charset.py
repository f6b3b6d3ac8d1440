"""Character sets: how the texts of a source are read, and in which set a result is written (PS3.5 6.1)."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

UTF_8: Final = "ISO_IR 192"
TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations whose characters depend on Specific Character Set (PS3.5 6.1.2.3)."""

_SAME_BYTES: Final = {"GBK": "GB18030"}
"""A set → one that holds it with the same bytes, and that more readers know: GBK came nine years later."""
_DEFAULT_REPERTOIRE: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_ESCAPE: Final = b"\x1b"
# An escape sequence names its set by itself (PS3.3 table C.12-4), declared or not.
_ESCAPED_SETS: Final = ["", "ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 149", "ISO 2022 IR 58"]
_DELIMITERS: Final = frozenset(b"\\^=\r\n\f\t")


def encodings_of(character_set: Sequence[str]) -> list[str]:
    """Return the Python codecs of a Specific Character Set; the default repertoire when it is empty."""
    return convert_encodings(list(character_set) or None)


def decode_undeclared(data: bytes) -> str:
    """Return a text of a source without Specific Character Set.

    Bytes that are valid UTF-8, or that hold the escape sequences of ISO 2022, say themselves what they are.
    Others are taken as Latin-1: every byte survives, and in practice that is what such devices write.
    """
    if _ESCAPE in data:
        return decode_bytes(data, convert_encodings(list(_ESCAPED_SETS)), set(_DELIMITERS))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def texts_of(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Yield VR and text of each value, at any depth, whose characters depend on the character set."""
    for element in dataset.iterall():
        if element.VR not in TEXT_VRS or element.value is None:
            continue
        values = [element.value] if isinstance(element.value, str | PersonName) else element.value
        for value in values:
            yield element.VR, str(value)


def settle_character_set(result: Dataset, source_character_set: Sequence[str]) -> None:
    """Give `result` the character set in which every one of its texts survives.

    None when all is ASCII; the source's own when each text survives a round trip in it, also with a reader
    that cuts values at each byte of a backslash; else `ISO_IR 192`.

    Parameters
    ----------
    result : Dataset
        A finished object with texts as Python strings; its Specific Character Set is set or removed.
    source_character_set : Sequence[str]
        Specific Character Set of the source, empty when it declares none.
    """
    if "SpecificCharacterSet" in result:
        del result.SpecificCharacterSet
    texts = [(vr, text) for vr, text in texts_of(result) if not text.isascii()]
    if not texts:
        return
    own = [_SAME_BYTES.get(term, term) for term in source_character_set]
    if _is_defined(own) and all(_survives(vr, text, own) for vr, text in texts):
        result.SpecificCharacterSet = own
    else:
        result.SpecificCharacterSet = UTF_8


def _is_defined(character_set: Sequence[str]) -> bool:
    # PS3.3 C.12.1.1.2: code extensions take ISO 2022 terms only, and only the first may be empty.
    if not character_set or any(term not in python_encoding for term in character_set):
        return False
    if len(character_set) == 1:
        return not character_set[0].startswith("ISO 2022")
    return all(term.startswith("ISO 2022 IR") for term in character_set if term) and all(character_set[1:])


def _survives(vr: str, text: str, character_set: Sequence[str]) -> bool:
    # pydicom writes the default repertoire as Latin-1, which PS3.5 6.1.2.1 does not allow.
    if character_set[0] in _DEFAULT_REPERTOIRE and any("\x7f" < letter < "\u0100" for letter in text):
        return False
    encodings = encodings_of(character_set)
    try:
        # pydicom writes a question mark for a letter that the set lacks, and warns.
        with warnings.catch_warnings(action="error"):
            if vr == "PN":
                encoded = PersonName(text).encode(encodings)
                decoded = str(PersonName(encoded, encodings))
            else:
                encoded = encode_string(text, encodings)
                decoded = decode_bytes(encoded, encodings, set(_DELIMITERS))
        # Half of a letter may be the byte of a backslash (PS3.5 6.1.2.3): many readers cut the value there.
        return decoded == text and encoded.count(b"\\") == text.count("\\")
    except (UnicodeError, LookupError, UserWarning):
        return False
