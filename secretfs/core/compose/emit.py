"""A compose file as YAML again. Rule: read again, it says the same: modes are octal, and a dollar is written ``$$``.

docker's own output is no file that docker reads as the same: its dollars are variables then.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import yaml

from secretfs.core.compose.model import ComposeFile, Definition, FileSource, ServiceEntry, TextSource, VariableSource
from secretfs.core.compose.tree import List, Map, Node, Place, Scalar
from secretfs.core.grant import GrantRequest
from secretfs.core.grant_syntax import DEFAULT_MODE
from secretfs.core.names import Kind

_WORD: Final = re.compile(r"[a-zA-Z_/.][a-zA-Z0-9_./-]*")
_PRINTABLE: Final = re.compile(r"[ -~\n\u00a0-\u2027\u202a-\ud7ff]*")  # in any style: no \r, no NEL, no other line end
_OTHER_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null", ".inf", ".nan"})
_WIDTH: Final = 2**20  # a line is broken by whoever reads it
_NOWHERE: Final = Place("", 0)
_SECTIONS: Final = {Kind.SECRET: "secrets", Kind.CONFIG: "configs"}


def emitted(file: ComposeFile, *, escape: bool = True) -> str:
    """The file as text. ``escape``: its variables have been replaced, and are not to be again."""
    fields = dict(file.fields)
    tree: dict[str, Node] = {key: fields.pop(key) for key in ("version", "name") if key in fields}
    tree["services"] = _map({key: _service(service) for key, service in file.services.items()})
    tree |= {key: fields.pop(key) for key in ("networks", "volumes") if key in fields}
    for kind, section in _SECTIONS.items():
        if file.definitions[kind]:
            tree[section] = _map({key: _definition(each) for key, each in file.definitions[kind].items()})
    events = _document(_map(tree | fields), escape=escape)
    text: str = yaml.emit(events, Dumper=yaml.CSafeDumper, allow_unicode=True, width=_WIDTH)
    return text


def _service(service: ServiceEntry) -> Node:
    grants = {
        section: List(_NOWHERE, tuple(map(_grant, service.grants[kind])))
        for kind, section in _SECTIONS.items()
        if service.grants[kind]
    }
    return _map({**service.fields, **grants})


def _grant(request: GrantRequest) -> Node:
    fields: dict[str, Node] = {"source": _text(request.source)}
    if request.target != request.source:
        fields["target"] = _text(request.target)
    fields |= {key: _quoted(text) for key, text in (("uid", request.uid), ("gid", request.gid)) if text != "0"}
    if request.mode != DEFAULT_MODE:
        fields["mode"] = Scalar(_NOWHERE, f"0{request.mode:o}")
    return _map(fields)


def _definition(each: Definition) -> Node:
    fields: dict[str, Node] = {"name": _text(each.name)} if each.name else {}
    fields |= _source(each)
    if each.external is not None:
        fields["external"] = Scalar(_NOWHERE, "true" if each.external else "false")
    for key, texts in (("labels", each.labels), ("driver_opts", each.driver_options)):
        if texts:
            fields[key] = _map({name: _quoted(text) for name, text in texts.items()})
    for key, text in (("driver", each.driver), ("template_driver", each.template_driver)):
        if text:
            fields[key] = _text(text)
    return _map({**fields, **each.extras})


def _source(each: Definition) -> dict[str, Node]:
    match each.source:
        case FileSource(path):
            return {"file": _text(path)}
        case VariableSource(name):
            return {"environment": _text(name)}
        case TextSource(text):
            return {"content": _quoted(text)}
    return {}


def _map(items: Mapping[str, Node]) -> Map:
    return Map(_NOWHERE, items, {})


def _text(text: str) -> Scalar:
    """A name or a path, bare where nobody can take it for something else."""
    return Scalar(_NOWHERE, text, plain=_bare(text))


def _quoted(text: str) -> Scalar:
    return Scalar(_NOWHERE, text, plain=False)


def _bare(text: str) -> bool:
    return bool(_WORD.fullmatch(text)) and text.lower() not in _OTHER_WORDS


def _document(tree: Node, *, escape: bool) -> Iterator[yaml.Event]:
    yield yaml.StreamStartEvent()
    yield yaml.DocumentStartEvent(explicit=False)
    yield from _events(tree, escape=escape)
    yield yaml.DocumentEndEvent(explicit=False)
    yield yaml.StreamEndEvent()


def _events(node: Node, *, escape: bool) -> Iterator[yaml.Event]:
    match node:
        case Scalar():
            yield _scalar(node.text.replace("$", "$$") if escape else node.text, plain=node.plain)
        case Map():
            yield yaml.MappingStartEvent(None, None, True, flow_style=not node.items)
            for key, item in node.items.items():
                yield _scalar(key, plain=_bare(key))
                yield from _events(item, escape=escape)
            yield yaml.MappingEndEvent()
        case List():
            yield yaml.SequenceStartEvent(None, None, True, flow_style=not node.items)
            yield from _all(node.items, escape=escape)
            yield yaml.SequenceEndEvent()


def _all(nodes: Iterable[Node], *, escape: bool) -> Iterator[yaml.Event]:
    for node in nodes:
        yield from _events(node, escape=escape)


def _scalar(text: str, *, plain: bool) -> yaml.Event:
    """The emitter takes another style where this one cannot say the text."""
    style = None
    if not _PRINTABLE.fullmatch(text):
        style = '"'
    elif "\n" in text:
        style = "|"
    return yaml.ScalarEvent(None, None, (plain, True), text, style=style)
