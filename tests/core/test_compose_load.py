"""YAML into trees: the text of every scalar, merges, what is refused with its line, and bounds."""

import contextlib
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.core.compose.load import MAX_BYTES, MAX_DEPTH, parsed
from secretfs.core.compose.tree import List, Map, Node, Place
from secretfs.errors import ComposeError


def plain(node: Node) -> object:
    """Texts; what is quoted in a tuple of one."""
    match node:
        case Map():
            return {key: plain(item) for key, item in node.items.items()}
        case List():
            return [plain(item) for item in node.items]
    return node.text if node.plain else (node.text,)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a: 0440", {"a": "0440"}),
        ("a: '0440'", {"a": ("0440",)}),
        ('a: "x\\ty"', {"a": ("x\ty",)}),
        ("a: !!str 0440", {"a": ("0440",)}),
        ("a: !!int 0440", {"a": "0440"}),
        ("a: ! 0440", {"a": ("0440",)}),
        ("a: |\n  b\n  c\n", {"a": ("b\nc\n",)}),
        ("a: >-\n  b\n  c\n", {"a": ("b c",)}),
        ("a:", {"a": ""}),
        ("a: {b: [c, {d: e}], f: {}}", {"a": {"b": ["c", {"d": "e"}], "f": {}}}),
        ("1: a\ntrue: b", {"1": "a", "true": "b"}),
        ("x: &x {a: b}\ny: *x", {"x": {"a": "b"}, "y": {"a": "b"}}),
        ("x: &x {a: b, c: d}\ny: {<<: *x, c: e}", {"x": {"a": "b", "c": "d"}, "y": {"c": "e", "a": "b"}}),
        ("y: {<<: [{a: 1}, {a: 2, b: 3}]}", {"y": {"a": "1", "b": "3"}}),
        ("\ufeffa: b", {"a": "b"}),
        ("%YAML 1.1\n---\na: b\n...\n", {"a": "b"}),
        ("a: é\n", {"a": "é"}),
    ],
)
def test_a_scalar_is_the_text_that_was_written(source: str, expected: object) -> None:
    assert plain(parsed(source, "f.yml")) == expected


def test_places_are_lines_of_the_file() -> None:
    tree = parsed("# comment\na:\n  b: 1\n  c:\n  - 2\n", "f.yml")
    inner = tree.items["a"]
    assert isinstance(inner, Map)
    listed = inner.items["c"]
    assert isinstance(listed, List)
    assert (tree.keys["a"], inner.keys["c"], listed.items[0].place) == tuple(Place("f.yml", at) for at in (2, 4, 5))
    assert str(inner.items["b"].place) == "f.yml:3"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "f.yml: top-level object must be a mapping"),
        ("# nothing", "f.yml: top-level object must be a mapping"),
        ("[]", "f.yml: top-level object must be a mapping"),
        ("a", "f.yml: top-level object must be a mapping"),
        ("a: 1\nb: 2\na: 3", 'f.yml:3: mapping key "a" already defined at line 1'),
        ("a: b: c", "f.yml:1: mapping values are not allowed in this context"),
        ("a: [", "f.yml:2: did not find expected node content"),
        ("a: 'b", "f.yml:1: found unexpected end of stream"),
        ("a:\n\tb: c", "f.yml:2: found character that cannot start any token"),
        ("a: *x", "f.yml:1: unknown anchor 'x'"),
        ("a: &x [*x]", "f.yml:1: unknown anchor 'x'"),
        ("a: !vault x", "f.yml:1: unknown tag '!vault'"),
        ("a: !!python/object:os.system x", "f.yml:1: unknown tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("a: !!set {b}", "f.yml:1: unknown tag 'tag:yaml.org,2002:set'"),
        ("a: !!binary YQ==", "f.yml:1: unknown tag 'tag:yaml.org,2002:binary'"),
        ("a: !reset null", "f.yml:1: unknown tag '!reset'"),
        ("? [a]\n: b", "f.yml:1: a key must be a text"),
        ("a: 1\n---\nb: 2", "f.yml:2: a second document: only one is read"),
        ("<<: a", "f.yml:1: '<<' takes a mapping, or a list of mappings"),
        ("a: {<<: [b]}", "f.yml:1: '<<' takes a mapping, or a list of mappings"),
        ("a: \x01", "f.yml: unacceptable character #x0001: control characters are not allowed"),
        ("a: \0", "f.yml: unacceptable character #x0000: control characters are not allowed"),
        ("a: \ud800", "f.yml: it is not UTF-8"),
        ("a: " + "[" * (MAX_DEPTH + 1), f"f.yml:1: it is nested deeper than {MAX_DEPTH}"),
        ("a: " + "[" * 100_000, "f.yml:1: exceeded maximum nesting depth"),
        ("a: " + "{b: " * 100_000, f"f.yml:1: it is nested deeper than {MAX_DEPTH}"),
        ("x" * (MAX_BYTES + 1), f"f.yml: it is longer than {MAX_BYTES} characters"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(source: str, reason: str) -> None:
    with pytest.raises(ComposeError) as refused:
        parsed(source, "f.yml")
    assert str(refused.value) == reason


def test_a_yaml_library_without_its_parser_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    with pytest.raises(ComposeError, match="without libyaml"):
        parsed("a: b", "f.yml")


@pytest.mark.parametrize("inner", ["[{}]", "{{{}}}"])
def test_a_bomb_of_aliases_is_refused_soon(inner: str) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 40):
        aliases = [f"*a{level - 1}"] * 10
        value = (
            f"[{', '.join(aliases)}]"
            if inner == "[{}]"
            else "{" + ", ".join(f"k{n}: {a}" for n, a in enumerate(aliases)) + "}"
        )
        lines.append(f"a{level}: &a{level} {value}")
    began = time.monotonic()
    with pytest.raises(ComposeError, match="too large, with its aliases followed"):
        parsed("\n".join(lines), "f.yml")
    assert time.monotonic() - began < 2


def test_a_large_file_is_read_soon() -> None:
    source = "x-big: |\n" + "  0123456789012345678901234567890123456789\n" * 90_000
    source += "".join(f"x-k{at}: v\n" for at in range(20_000))
    began = time.monotonic()
    assert len(parsed(source, "f.yml").items) == 20_001
    assert time.monotonic() - began < 10


TREES = st.recursive(
    st.text() | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=1000)
@given(st.dictionaries(st.text(min_size=1), TREES, max_size=4))
def test_what_a_yaml_writer_writes_is_read_as_it_was(value: dict) -> None:
    if "<<" in str(value):
        return
    tree = parsed(yaml.safe_dump(value), "f.yml")
    assert same(tree, value)


def same(node: Node, value: object) -> bool:
    match node:
        case Map():
            return (
                isinstance(value, dict)
                and list(map(str, sorted(value))) == sorted(node.items)
                and all(same(node.items[key], item) for key, item in value.items())
            )
        case List():
            return isinstance(value, list) and len(value) == len(node.items) and all(map(same, node.items, value))
    if isinstance(value, str):
        return node.text == value
    return node.plain and node.text == {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


FRAGMENTS = (
    "a", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "&x ", "*x", "<<: ", "|", ">", "'", '"', "!!int ", "!t ", "#",
    "---\n", "...\n", "? ", "%", "0440", "~", "\t", "secrets:\n", "  s:\n", "    file: f\n",
)  # fmt: skip


@settings(max_examples=500, deadline=1000)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join) | st.text(max_size=300))
def test_any_text_is_read_or_refused(source: str) -> None:
    with contextlib.suppress(ComposeError):
        assert isinstance(parsed(source, "f.yml"), Map)
