"""Looks for bytes in all that secretfs has: in the memory of its processes, in memory files, in directories.

A needle is known here by masked words only: every 8 bytes of every form that it may have (raw, base64, hex), at every
offset, each XOR one mask. So what is looked through is masked too, and looked up by words: one pass over it, however
many needles there are. Found is what has two words that follow each other, which no chance gives.

As ``canary.py MASK STATE KEY ID VERSION`` it prints the needle of a data key: the key itself is in this child only.
"""

import array
import base64
import contextlib
import json
import os
import re
import secrets
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from secretfs.core.names import Kind, ObjectId
from secretfs.crypto import lock
from secretfs.crypto.envelope import unwrap_key, value_context
from secretfs.crypto.rootkey import root_key

WORD = 8
CHUNK = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")
SWAPPED_OR_PRESENT = 0b11 << 62  # of an entry in proc_pid_pagemap(5)
OF_A_FILE = 1 << 61  # or of memory that is shared
FORM_BITS = 40  # an offset in a form is less


class Mask:
    """64 random bits that words are XORed with."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._long = int.from_bytes(bits.to_bytes(WORD, "little") * (CHUNK // WORD), "little")

    def words(self, content: bytes) -> array.array:
        """The masked words of at most CHUNK bytes; what is less than a word at the end is left out."""
        size = len(content) // WORD * WORD
        number = int.from_bytes(content[:size], "little") ^ (self._long & ((1 << size * 8) - 1))
        return array.array("Q", number.to_bytes(size, "little"))


MASK = Mask(secrets.randbits(64))


class Needle:
    """``forms`` are names; ``places`` where each masked word is: number of the form, offset in it. ``again``: where
    it is as well, as eight digits are the same in hex and in HEX.
    """

    def __init__(self, forms: list[str], places: dict[int, int], again: dict[int, int]) -> None:
        self.forms = forms
        self.places = places
        self.again = again

    @classmethod
    def of(cls, name: str, value: bytes, mask: Mask = MASK) -> Self:
        forms = dict(forms_of(value))
        places: dict[int, int] = {}
        again: dict[int, int] = {}
        for number, form in enumerate(forms.values()):
            for shift in range(WORD):
                for at in range(shift, len(form), CHUNK):
                    words = mask.words(form[at : at + CHUNK])
                    new = dict(zip(words, range(number << FORM_BITS | at, 1 << 63, WORD), strict=False))
                    again |= {word: places[word] for word in places.keys() & new.keys()}
                    places |= new
        return cls([f"{name} {form}" for form in forms], places, again)


class Canary:
    """Random bytes, kept masked; ``value`` is for whoever creates a secret of them."""

    def __init__(self, size: int = 1 << 16) -> None:
        value = os.urandom(size)
        self.size = size
        self._masked = MASK.words(value)
        self.needle = Needle.of("value", value)

    def value(self) -> bytes:
        return MASK.words(self._masked.tobytes()).tobytes()


class Hit(NamedTuple):
    """``words`` different words of one form, in one place."""

    place: str
    form: str
    words: int


class Scanner:
    """Looks for all of its needles at once."""

    def __init__(self, *needles: Needle) -> None:
        self._forms: list[str] = []
        self._places: dict[int, int] = {}
        self._again: dict[int, int] = {}
        for needle in needles:
            first = len(self._forms) << FORM_BITS
            self._places |= {word: first + place for word, place in needle.places.items()}
            self._again |= {word: first + place for word, place in needle.again.items()}
            self._forms += needle.forms

    def processes(self, pids: Iterable[int]) -> list[Hit]:
        """All that is mapped by these processes, and the memory files that they have open: those once for all."""
        found: list[Hit] = []
        files = _memory_files(pids := list(pids))
        for place, path in files.values():
            found += self._found(place, _read(path))
        for pid in pids:
            found += self._memory(pid, files.keys())
        return found

    def files(self, *tops: Path) -> list[Hit]:
        """The files in and below these."""
        return [hit for path in files_below(*tops) for hit in self._found(str(path), _read(path))]

    def content(self, place: str, content: bytes) -> list[Hit]:
        """Bytes that somebody else has collected."""
        return [*self._found(place, (content[at : at + CHUNK] for at in range(0, len(content), CHUNK)))]

    def _memory(self, pid: int, besides: Container[int]) -> Iterator[Hit]:
        """But for the memory files with these inode numbers."""
        with (
            open(f"/proc/{pid}/mem", "rb", buffering=0) as memory,
            open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap,
        ):
            for mapping in _mappings(pid):
                if mapping.inode not in besides or not mapping.name.startswith("/memfd:"):
                    extents = _present(pagemap, mapping)
                    yield from self._found(f"{pid} {mapping.start:x} {mapping.name}", _chunks(memory.fileno(), extents))

    def _found(self, place: str, chunks: Iterable[bytes]) -> Iterator[Hit]:
        seen: set[int] = set()
        for chunk in chunks:
            if words := self._places.keys() & MASK.words(chunk):
                seen.update(map(self._places.__getitem__, words))
                seen.update(map(self._again.__getitem__, self._again.keys() & words))
        found = [at for at in seen if at + WORD in seen or at - WORD in seen]
        for number in sorted({at >> FORM_BITS for at in found}):
            yield Hit(place, self._forms[number], sum(at >> FORM_BITS == number for at in found))


def forms_of(value: bytes) -> Iterator[tuple[str, bytes]]:
    """How a copy may look. A half or any other part of the value is a part of one of these."""
    yield "raw", value
    for shift in range(3):
        yield f"base64 from byte {shift}", base64.b64encode(value[shift:]).rstrip(b"=")
    yield "hex", value.hex().encode()
    yield "HEX", value.hex().upper().encode()
    words = array.array("I", value[: len(value) // 4 * 4])
    words.byteswap()
    yield "words turned round", words.tobytes()  # the key schedule of an AES that is no instruction of the processor


def files_below(*tops: Path) -> list[Path]:
    found = [top for top in tops if top.is_file()]
    for top in tops:
        for directory, _, names in os.walk(top):
            found += [Path(directory, name) for name in names]
    return [path for path in found if stat.S_ISREG(path.lstat().st_mode)]


def data_key(state: Path, key: Path, object_id: str, version: int = 1) -> Needle:
    """What to look for when the data key of a version is: found out by a child process, which ends."""
    words = [sys.executable, __file__, str(MASK.bits), str(state), str(key), object_id, str(version)]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    found = json.loads(done.stdout)
    places, again = ({int(word): place for word, place in found[name].items()} for name in ("places", "again"))
    return Needle(found["forms"], places, again)


def _memory_files(pids: Iterable[int]) -> dict[int, tuple[str, Path]]:
    """Those that any of the processes has open, also what none has mapped now: inode number → place, path."""
    found: dict[int, tuple[str, Path]] = {}
    for pid in pids:
        for fd in list(Path(f"/proc/{pid}/fd").iterdir()):
            name = os.readlink(fd)
            if name.startswith("/memfd:"):
                found.setdefault(fd.stat().st_ino, (f"{pid} {name}", fd))
    return found


class Mapping(NamedTuple):
    """A line of proc_pid_maps(5). What is written to a private one is a page of its own, and the file's no more."""

    start: int
    end: int
    private: bool
    inode: int
    name: str


def _mappings(pid: int) -> Iterator[Mapping]:
    """But for what belongs to the kernel, which cannot be read."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        found = re.match(r"(\w+)-(\w+) ...(.) \S+ \S+ (\d+)\s*(.*)", line)
        start, end, sharing, inode, name = found.groups()
        if not name.startswith("[v"):
            yield Mapping(int(start, 16), int(end, 16), sharing == "p", int(inode), name)


def _present(pagemap, mapping: Mapping) -> Iterator[range]:
    """The pages that there are: to look at others would make them, in a file of memory for good. Not those that are
    still a file's, in a private mapping: programs and libraries, as they are on the disk.
    """
    start, end = mapping.start, mapping.end
    entries = array.array("Q", os.pread(pagemap.fileno(), (end - start) // PAGE * 8, start // PAGE * 8))
    unwritten = OF_A_FILE if mapping.private else 0
    first = None
    for number, entry in enumerate(entries):
        if entry & SWAPPED_OR_PRESENT and not entry & unwritten:
            first = number if first is None else first
        elif first is not None:
            yield range(start + first * PAGE, start + number * PAGE)
            first = None
    if first is not None:
        yield range(start + first * PAGE, start + len(entries) * PAGE)


def _read(path: Path) -> Iterator[bytes]:
    """What was ever written of a file, without its holes."""
    with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
        yield from _chunks(file.fileno(), _written(file.fileno()))


def _written(fd: int) -> Iterator[range]:
    end, at = os.fstat(fd).st_size, 0
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole to the end
            return
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        yield range(at, hole)
        at = hole


def _chunks(fd: int, extents: Iterable[range]) -> Iterator[bytes]:
    for extent in extents:
        for at in range(extent.start, extent.stop, CHUNK):
            yield os.pread(fd, min(CHUNK, extent.stop - at), at)


def _print_data_key(mask: str, state: str, key: str, object_id: str, version: str) -> None:
    with contextlib.closing(sqlite3.connect(f"file:{state}/secretfs.db?mode=ro", uri=True)) as db:
        records = dict(db.execute("SELECT CAST(key AS TEXT), value FROM record"))
    cluster_id = records["cluster/id"].decode()
    opened = lock.unsealed(records["cluster/keyring"], root_key(f"file:{key}", create=False), cluster_id)
    context = value_context(cluster_id, Kind.SECRET, ObjectId(object_id), int(version))
    found = unwrap_key(records[f"value/{object_id}/{version}/key"], context=context, keyring=opened.keyring)
    needle = Needle.of("data key", bytes(found), Mask(int(mask)))
    json.dump({"forms": needle.forms, "places": needle.places, "again": needle.again}, sys.stdout)


if __name__ == "__main__":
    _print_data_key(*sys.argv[1:])
