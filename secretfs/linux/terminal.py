"""Text that was chosen by somebody else, on its way to a terminal. Rule: it is read, never obeyed.

Escaped are the control characters (C0, DEL, C1: they move the cursor, clear the screen, set its title, begin another
line) and those that turn the direction of text (Unicode TR 36, 3.1), as Python writes them in a string.
"""

_CONTROL = (*range(0x20), *range(0x7F, 0xA0))
_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_LINE = {code: repr(chr(code))[1:-1] for code in (*_CONTROL, *_BIDI)}
_BLOCK = {code: escape for code, escape in _LINE.items() if chr(code) not in "\n\t"}
_JSON = {code: f"\\u{code:04x}" for code in (*_CONTROL, *_BIDI) if code >= 0x7F}


def one_line(text: str) -> str:
    """The text with everything escaped that could be more than text on its line."""
    return text.translate(_LINE)


def block(text: str) -> str:
    """The same for text that has lines and tabs of its own."""
    return text.translate(_BLOCK)


def json_text(text: str) -> str:
    """The same JSON, with what the encoder leaves as it is escaped; it means the same."""
    return text.translate(_JSON)
