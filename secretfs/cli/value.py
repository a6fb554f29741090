"""A secret's bytes on their way to the daemon. Rule: they lie in bytearrays that are wiped, and nowhere else.

So they are read with readv(2) into one buffer, and base64 goes from buffer to buffer by a table: every
call of the standard library that does either hands out an immutable copy. What is left behind is at most
twelve bits of an integer.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from stat import S_ISREG

from secretfs.errors import InvalidArgumentError

STDIN = "-"
_STDIN_NAME = "STDIN"
_BLANK = 0x20  # below are control characters: what has them is binary
_IN_TEXT = b"\t\r"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class Value:
    """The bytes of a secret, in a buffer that is zeros again after ``read_value``'s block."""

    __slots__ = ("_buffer", "from_person", "size")

    def __init__(self, buffer: bytearray, size: int, *, from_person: bool) -> None:
        self._buffer = buffer
        self.size = size
        self.from_person = from_person  # from a terminal or a file, where an editor or a return key ends lines

    def __repr__(self) -> str:
        return f"<Value {self.size} bytes>"

    def __reduce__(self) -> str:
        raise TypeError("a Value cannot be pickled or copied")

    @property
    def stray_newline(self) -> bool:
        """Whether the value is one line of text, typed or in a file, and its line end is probably not meant."""
        last = self.size - 1
        if not self.from_person or self._buffer.find(b"\n", 0, self.size) != last:
            return False
        return all(byte >= _BLANK or byte in _IN_TEXT for byte in self.view[:last])

    @property
    def view(self) -> memoryview:
        """The bytes, in place."""
        return memoryview(self._buffer)[: self.size]


@contextmanager
def read_value(source: str, *, max_bytes: int) -> Iterator[Value]:
    """The value in a file, or in standard input for ``-``: at most max_bytes, the rest is left unread.

    Raises: InvalidArgumentError, with docker's text, for what cannot be read or is empty.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    name = _STDIN_NAME if source == STDIN else source
    buffer = bytearray(max_bytes)
    try:
        value = _filled(source, name, buffer)
        if not value.size:
            raise InvalidArgumentError(f"error reading from {name}: data is empty")
        yield value
    finally:
        wipe(buffer)


@contextmanager
def given_value(content: bytes) -> Iterator[Value]:
    """A value that is there already, in the environment or in a compose file: only the copies of it are wiped."""
    buffer = bytearray(content)
    try:
        yield Value(buffer, len(buffer), from_person=False)
    finally:
        wipe(buffer)


@contextmanager
def value_body(fields: Mapping[str, object], value: Value) -> Iterator[bytearray]:
    """A request with these fields and the value as ``Data``; zeros again after the block."""
    given = json.dumps(dict(fields))[:-1] + ("," if fields else "")
    head = f'{given}"Data":"'.encode()
    body = bytearray(len(head) + base64_size(value.size) + 2)
    body[: len(head)] = head
    try:
        base64_into(body, len(head), value.view)
        body[-2:] = b'"}'
        yield body
    finally:
        wipe(body)


def base64_size(size: int) -> int:
    """Characters that so many bytes make."""
    return (size + 2) // 3 * 4


def base64_into(target: bytearray, at: int, source: memoryview) -> None:
    """Write source as base64 (RFC 4648, padded) into target from at on."""
    whole = len(source) // 3
    pairs = [int.from_bytes((high, low), sys.byteorder) for high in _ALPHABET for low in _ALPHABET]
    with memoryview(target)[at : at + 4 * whole].cast("H") as words:  # each the two characters of twelve bits
        triples = zip(source[0 : 3 * whole : 3], source[1 : 3 * whole : 3], source[2 : 3 * whole : 3], strict=True)
        for place, (first, middle, last) in enumerate(triples):
            words[2 * place] = pairs[first << 4 | middle >> 4]
            words[2 * place + 1] = pairs[(middle & 15) << 8 | last]
    if len(source) > 3 * whole:
        _last_into(target, at + 4 * whole, *source[3 * whole :])


def _last_into(target: bytearray, at: int, first: int, middle: int | None = None) -> None:
    """The one or two bytes that make no triple."""
    rest = middle or 0
    target[at] = _ALPHABET[first >> 2]
    target[at + 1] = _ALPHABET[(first & 3) << 4 | rest >> 4]
    target[at + 2] = ord("=") if middle is None else _ALPHABET[(rest & 15) << 2]
    target[at + 3] = ord("=")


def wipe(buffer: bytearray) -> None:
    """Zeros over the whole buffer, in place."""
    buffer[:] = bytes(len(buffer))


def _filled(source: str, name: str, buffer: bytearray) -> Value:
    act = "open"
    try:
        descriptor = 0 if source == STDIN else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        act = "read"
        try:
            size = _read_into(descriptor, buffer)
            person = S_ISREG(os.fstat(descriptor).st_mode) or os.isatty(descriptor)
        finally:
            if descriptor:
                os.close(descriptor)
    except OSError as exc:
        path = "/dev/stdin" if source == STDIN else source
        reason = f"{act} {path}: {os.strerror(exc.errno or 0).lower()}"
        raise InvalidArgumentError(f"error reading from {name}: {reason}") from None
    return Value(buffer, size, from_person=person)


def _read_into(descriptor: int, buffer: bytearray) -> int:
    size = 0
    with memoryview(buffer) as view:
        while size < len(buffer):
            with view[size:] as rest:
                count = os.readv(descriptor, [rest])
            if not count:
                break
            size += count
    return size
