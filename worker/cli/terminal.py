"""Foreign text, made safe for a terminal."""


def visible(text: object) -> str:
    """Return the text with escapes for what a terminal would obey: control characters, line ends, bidi."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))
