"""Go's base64 inside a JSON string, decoded into a buffer that can be wiped. Rule: no str and no whole copy
of a value is made.

Standard alphabet, padded; line ends are skipped as in Go. Pieces of a few kilobytes pass through bytes
objects, which cannot be wiped here: the daemon's allocator overwrites what is freed (DESIGN section 5,
"Process hygiene").
"""

import binascii
import re

import msgspec

from secretfs.control.api.docker.json import mismatch
from secretfs.control.api.http import wipe
from secretfs.errors import BadRequestError

_PIECE = 4096  # characters; a multiple of 4
_ESCAPE = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ALPHABET = frozenset(_LETTERS)
_SKIPPED = b"\r\n"
_QUANTUM = 4
_PADDING = ord("=")


def value_of(raw: msgspec.Raw | None, where: str) -> bytearray:
    """The bytes that a field of a request holds, none when it is absent or null; the caller wipes them.

    Raises: BadRequestError.
    """
    view = memoryview(b"null" if raw is None else raw)
    first = bytes(view[:1])
    if first == b'"':
        return decoded_string(view)
    if first == b"n":
        return bytearray()
    kind = {b"[": [], b"{": {}, b"t": True, b"f": False}.get(first, 0)
    raise mismatch(kind, where, "[]uint8")


def decoded_string(raw: memoryview) -> bytearray:
    """The bytes that the JSON string (with its quotes) holds in base64; the caller wipes them.

    Raises: BadRequestError.
    """
    text = bytearray(raw[1:-1])
    try:
        if b"\\" in text:
            _unescape(text)
        if _is_plain(text):
            return _decoded(text)
        _check(text)
        joined = text.translate(None, _SKIPPED)
        try:
            return _decoded(joined)
        finally:
            wipe(joined)
    finally:
        wipe(text)


def _is_plain(text: bytearray) -> bool:
    """Whether it is whole quanta with nothing to skip. (A regular expression takes half a second for a megabyte.)"""
    others = bytes(text.translate(None, _LETTERS))
    return len(text) % _QUANTUM == 0 and others in (b"", b"=", b"==") and text.endswith(others)


def _decoded(text: bytearray) -> bytearray:
    value = bytearray(len(text) // _QUANTUM * 3 - text[-2:].count(_PADDING))
    at = 0
    with memoryview(text) as view:
        for start in range(0, len(text), _PIECE):
            piece = binascii.a2b_base64(view[start : start + _PIECE])
            value[at : at + len(piece)] = piece
            at += len(piece)
    return value


def _unescape(text: bytearray) -> None:
    """Undo JSON's escapes in place; one that stands for no character of base64 becomes one that is none."""
    at = kept = 0
    while at < len(text):
        match = _ESCAPE.match(text, at)
        text[kept] = text[at] if match is None else _meant(match)
        at = at + 1 if match is None else match.end()
        kept += 1
    text[kept:] = bytes(len(text) - kept)
    del text[kept:]


def _meant(match: re.Match[bytes]) -> int:
    if match[1] is not None:
        code = int(match[1], 16)
        return code if code < 0x80 else 0
    return {b"/": ord("/"), b"n": ord("\n"), b"r": ord("\r")}.get(match[2], 0)


def _check(text: bytearray) -> None:
    """Refuse what Go refuses, naming the same byte (encoding/base64, decodeQuantum)."""
    quantum, padding, start = 0, 0, 0
    for at, char in enumerate(text):
        if char in _SKIPPED:
            continue
        if quantum == _QUANTUM:
            quantum, start = 0, at
            if padding:
                raise _illegal(at)
        if char == _PADDING and quantum >= 2:
            padding += 1
        elif char not in _ALPHABET or padding:
            raise _illegal(at - padding)
        quantum += 1
    if quantum not in (0, _QUANTUM):
        raise _illegal(len(text) if padding else start)


def _illegal(at: int) -> BadRequestError:
    return BadRequestError(f"invalid JSON: illegal base64 data at input byte {at}")
