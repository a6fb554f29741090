"""YAML into a tree. Rule: bounded in size and depth before anything is made of it, and nothing is dropped silently.

Built from the parser's events, since its own constructors turn ``0440`` into a number, let the second of two equal keys
win, and follow an alias as often as it is written: nine lines of ``[*a, *a, …]`` are a thousand million nodes ("billion
laughs"). libyaml's parser only: the one in Python takes minutes for 30,000 brackets, libyaml ends at a depth of 1000.
"""

from collections.abc import Iterator
from typing import Final

import yaml

from secretfs.core.compose.tree import List, Map, Node, Place, Scalar
from secretfs.errors import ComposeError

MAX_BYTES: Final = 4 * 1024 * 1024  # of a file: four of the largest configs, inline
MAX_DEPTH: Final = 64
MAX_WEIGHT: Final = 200_000  # of a tree with all aliases followed: nodes, and 64 characters each
_CHARACTERS: Final = 64
_MERGE: Final = "<<"
_YAML: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = {f"{_YAML}{name}" for name in ("int", "float", "bool", "null")}
_TEXT_TAGS: Final = {f"{_YAML}str", "!"}


def parsed(source: str, file: str) -> Map:
    """The tree of a file; ``file`` is what messages call it. Raises: ComposeError, with the line."""
    if len(source) > MAX_BYTES:
        raise ComposeError(f"{file}: it is longer than {MAX_BYTES} characters")
    if not hasattr(yaml, "CSafeLoader"):
        raise ComposeError(f"{file}: PyYAML has been installed without libyaml, which reads compose files")
    try:
        tree = _Builder(file).document(iter(yaml.parse(source, Loader=yaml.CSafeLoader)))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ComposeError(f"{file}{line}: {exc.problem or exc.context}") from None
    except yaml.YAMLError as exc:  # a character that YAML does not allow
        raise ComposeError(f"{file}: {str(exc).splitlines()[0]}") from None
    except UnicodeEncodeError:
        raise ComposeError(f"{file}: it is not UTF-8") from None
    if not isinstance(tree, Map):
        raise ComposeError(f"{file}: top-level object must be a mapping")
    return tree


class _Builder:
    """One document's anchors, and what they weigh when they are followed."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._events: Iterator[yaml.Event] = iter(())
        self._event: yaml.Event

    def document(self, events: Iterator[yaml.Event]) -> Node | None:
        """The only document; None for an empty file."""
        self._events = events
        tree = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if tree is not None:
                    raise self._refused(event, "a second document: only one is read")
                self._event = next(events)
                tree = self._node(0)[0]
        return tree

    def _node(self, depth: int) -> tuple[Node, int]:
        """The node that begins at the current event, and its weight; its last event is the current one then."""
        event = self._event
        node: Node
        if depth > MAX_DEPTH:
            raise self._refused(event, f"it is nested deeper than {MAX_DEPTH}")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        match event:
            case yaml.MappingStartEvent():
                node, weight = self._map(event, depth)
            case yaml.SequenceStartEvent():
                node, weight = self._list(event, depth)
            case yaml.ScalarEvent():
                node = Scalar(self._place(event), event.value, self._plain(event))
                weight = 1 + len(event.value) // _CHARACTERS
            case _:
                raise self._refused(event, "this is no value")
        if weight > MAX_WEIGHT:
            raise self._refused(event, "it is too large, with its aliases followed")
        if event.anchor is not None:
            self._anchors[event.anchor] = node, weight
        return node, weight

    def _alias(self, event: yaml.AliasEvent) -> tuple[Node, int]:
        if event.anchor not in self._anchors:  # inside itself, too: an anchor is known when its node has ended
            raise self._refused(event, f"unknown anchor '{event.anchor}'")
        return self._anchors[event.anchor]

    def _list(self, start: yaml.SequenceStartEvent, depth: int) -> tuple[Node, int]:
        items, weight = [], 1
        self._check_tag(start, f"{_YAML}seq")
        while not isinstance(self._next(), yaml.SequenceEndEvent):
            node, more = self._node(depth + 1)
            items.append(node)
            weight += more
        return List(self._place(start), tuple(items)), weight

    def _map(self, start: yaml.MappingStartEvent, depth: int) -> tuple[Node, int]:
        weight = 1
        self._check_tag(start, f"{_YAML}map")
        items: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(self._next(), yaml.MappingEndEvent):
            key, place = self._key(), self._place(self._event)
            if key in items:
                raise self._refused(self._event, f'mapping key "{key}" already defined at line {keys[key].line}')
            self._next()
            items[key], more = self._node(depth + 1)
            keys[key] = place
            weight += 1 + more
        if _MERGE in items:
            _merge(items, keys)
        return Map(self._place(start), items, keys), weight

    def _next(self) -> yaml.Event:
        self._event = next(self._events)
        return self._event

    def _key(self) -> str:
        if not isinstance(self._event, yaml.ScalarEvent):
            raise self._refused(self._event, "a key must be a text")
        return self._event.value

    def _plain(self, event: yaml.ScalarEvent) -> bool:
        if event.tag in _PLAIN_TAGS:
            return True
        self._check_tag(event, *_TEXT_TAGS)
        return event.tag is None and bool(event.implicit[0])  # no quotes

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, *known: str) -> None:
        if event.tag is not None and event.tag not in known:
            raise self._refused(event, f"unknown tag '{event.tag}'")

    def _place(self, event: yaml.Event) -> Place:
        return Place(self._file, event.start_mark.line + 1 if event.start_mark else 0)

    def _refused(self, event: yaml.Event, reason: str) -> ComposeError:
        return ComposeError(f"{self._place(event)}: {reason}")


def _merge(items: dict[str, Node], keys: dict[str, Place]) -> None:
    """Put what ``<<`` names into the map (yaml.org/type/merge.html): its own keys win, then the first that has one."""
    merged = items.pop(_MERGE)
    place = keys.pop(_MERGE)
    for source in merged.items if isinstance(merged, List) else (merged,):
        if not isinstance(source, Map):
            raise ComposeError(f"{place}: '<<' takes a mapping, or a list of mappings")
        for key, value in source.items.items():
            items.setdefault(key, value)
            keys.setdefault(key, source.keys[key])
