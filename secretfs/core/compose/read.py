"""From a tree to what it is about. Rule: everything is checked here, with the line; nothing is guessed at later."""

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from secretfs.core.compose import keys
from secretfs.core.compose.model import (
    ComposeFile,
    Definition,
    FileSource,
    ServiceEntry,
    Source,
    TextSource,
    VariableSource,
)
from secretfs.core.compose.parts import labels_of, map_of, text_of
from secretfs.core.compose.tree import List, Map, Node, Place, Scalar
from secretfs.core.grant import GrantRequest, check_duplicates, parse_target
from secretfs.core.grant_syntax import DEFAULT_MODE, parse_mode, parse_owner
from secretfs.core.names import Kind
from secretfs.errors import ComposeError, InvalidGrantError

T = TypeVar("T")
_KEY: Final = re.compile(r"[a-zA-Z0-9._-]+")  # docker cli, config_schema_v3.13.json
_BOOLEANS: Final = dict.fromkeys(("true", "yes", "on", "y"), True) | dict.fromkeys(("false", "no", "off", "n"), False)
_SECTIONS: Final = {Kind.SECRET: "secrets", Kind.CONFIG: "configs"}
_KNOWN: Final = {Kind.SECRET: keys.SECRET, Kind.CONFIG: keys.CONFIG}


def read(tree: Map, directory: str) -> ComposeFile:
    """What the file is about; its relative paths begin at the directory. Raises: ComposeError."""
    keys.check_keys(tree, keys.TOP, "top level")
    services = {key: _service(key, node) for key, node in _section(tree, "services").items()}
    definitions = {
        kind: {key: _definition(kind, key, node, directory) for key, node in _section(tree, section).items()}
        for kind, section in _SECTIONS.items()
    }
    used = {"services", *_SECTIONS.values()}
    return ComposeFile(services, definitions, {key: node for key, node in tree.items.items() if key not in used})


def _section(tree: Map, name: str) -> Mapping[str, Map]:
    """The entries of a section. Raises: ComposeError, unless all of them are mappings."""
    if name not in tree.items:
        return {}
    section = map_of(tree.items[name], name)
    for key, place in section.keys.items():
        if not _KEY.fullmatch(key):
            raise ComposeError(f"{place}: {name}: '{key}' cannot be a key: only a-z A-Z 0-9 . _ - are allowed")
    return {key: map_of(node, f"{name}.{key}") for key, node in section.items.items()}


def _service(key: str, node: Map) -> ServiceEntry:
    where = f"services.{key}"
    keys.check_keys(node, keys.SERVICE, where)
    grants = {kind: _grants(kind, node, where) for kind in Kind}
    fields = {name: item for name, item in node.items.items() if name not in _SECTIONS.values()}
    return ServiceEntry(key, node.place, grants, fields)


def _grants(kind: Kind, service: Map, where: str) -> tuple[GrantRequest, ...]:
    section = _SECTIONS[kind]
    if section not in service.items:
        return ()
    listed = service.items[section]
    if not isinstance(listed, List):
        raise ComposeError(f"{listed.place}: {where}.{section} must be a list")
    found = tuple(_grant(kind, item, f"{where}.{section}.{at}") for at, item in enumerate(listed.items))
    _at(listed.place, lambda: check_duplicates(found), where)
    return found


def _grant(kind: Kind, node: Node, where: str) -> GrantRequest:
    if isinstance(node, Scalar):
        source = text_of(node, where)
        return _checked(GrantRequest(kind, source, source), node.place, where)
    given = map_of(node, where)
    keys.check_keys(given, keys.GRANT, where)
    texts = {key: text_of(item, f"{where}.{key}") for key, item in given.items.items() if key in keys.GRANT}
    source = texts.get("source", "")
    if not source:
        raise ComposeError(f"{node.place}: {where}: source is required")
    mode = texts.get("mode")
    request = GrantRequest(
        kind,
        source,
        texts.get("target") or source,
        _at(node.place, lambda: parse_owner("uid", texts.get("uid", "0")), where),
        _at(node.place, lambda: parse_owner("gid", texts.get("gid", "0")), where),
        DEFAULT_MODE if mode is None else _at(given.items["mode"].place, lambda: parse_mode(mode), where),
    )
    return _checked(request, node.place, where)


def _checked(request: GrantRequest, place: Place, where: str) -> GrantRequest:
    _at(place, lambda: parse_target(request.target, request.kind), where)
    return request


def _definition(kind: Kind, key: str, node: Map, directory: str) -> Definition:
    where = f"{_SECTIONS[kind]}.{key}"
    if kind is Kind.SECRET and "content" in node.items:
        refused = ComposeError(f"{node.keys['content']}: {where}: a secret's value does not belong in a compose file")
        refused.add_note("put it into a file or an environment variable, and say which: file, environment")
        raise refused
    keys.check_keys(node, _KNOWN[kind], where)
    external, old_name = _external(node, where)
    name = _optional(node, "name", where)
    if name and old_name:
        raise ComposeError(
            f"{node.place}: {kind.value} {key}: {kind.value}.external.name and {kind.value}.name conflict; "
            f"only use {kind.value}.name"
        )
    definition = Definition(
        kind,
        key,
        node.place,
        _source(node, where, directory),
        external,
        name or old_name,
        labels_of(node.items.get("labels"), f"{where}.labels"),
        _optional(node, "driver", where),
        labels_of(node.items.get("driver_opts"), f"{where}.driver_opts"),
        _optional(node, "template_driver", where),
        {name: item for name, item in node.items.items() if name.startswith("x-")},
    )
    if definition.driver and definition.source:
        noun = kind.value
        raise ComposeError(
            f"{node.place}: {noun} {key}: {noun}.driver and {noun}.file conflict; only use {noun}.driver"
        )
    return definition


def _external(node: Map, where: str) -> tuple[bool | None, str]:
    """Whether it is external, None if nothing is said; and a name, in the form that came before ``name``."""
    given = node.items.get("external")
    if given is None:
        return None, ""
    if isinstance(given, Map):
        keys.check_keys(given, keys.EXTERNAL, f"{where}.external")
        return True, _optional(given, "name", f"{where}.external")
    external = _BOOLEANS.get(text_of(given, f"{where}.external").lower())
    if external is None:
        raise ComposeError(f"{given.place}: {where}.external must be true or false")
    return external, ""


def _source(node: Map, where: str, directory: str) -> Source | None:
    made: Mapping[str, Callable[[str], Source]] = {
        "file": lambda text: FileSource(posixpath.normpath(posixpath.join(directory, text))),
        "environment": VariableSource,
        "content": TextSource,
    }
    found = [(key, node.items[key]) for key in made if key in node.items]
    if len(found) > 1:
        raise ComposeError(
            f"{found[1][1].place}: {where}: only one of {', '.join(key for key, _ in found)} can be given"
        )
    for key, item in found:
        text = text_of(item, f"{where}.{key}")
        if not text:
            raise ComposeError(f"{item.place}: {where}.{key} is empty")
        return made[key](text)
    return None


def _optional(node: Map, key: str, where: str) -> str:
    return text_of(node.items[key], f"{where}.{key}") if key in node.items else ""


def _at(place: Place, rule: Callable[[], T], where: str) -> T:
    """What a rule of grants says, with the place. Raises: ComposeError."""
    try:
        return rule()
    except InvalidGrantError as exc:
        raise ComposeError(f"{place}: {where}: {exc}") from None
