"""The secrets and configs of a stack: made, and given new values. Rule: changed content is a rotation, what is as it
was stays untouched, and each act is taken back when the deploy fails.
"""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from secretfs.cli import answers, output
from secretfs.cli.client import Client, encoded, quoted
from secretfs.cli.commands import warn_of_newline
from secretfs.cli.undo import Undo
from secretfs.cli.value import Value, given_value, read_value, value_body
from secretfs.core.compose.build import StackObject
from secretfs.core.compose.model import FileSource, TextSource, VariableSource
from secretfs.core.names import Kind
from secretfs.core.secret import MAX_BYTES, check_size
from secretfs.errors import InvalidArgumentError, SecretfsError, UnavailableError


def check_value(each: StackObject) -> None:
    """Refuse a value that cannot be had, or that no secret can have, before anything is done. What is no regular file
    can be read once only, and is read later.

    Raises: InvalidArgumentError.
    """
    with doing(f"read {each.kind.value} {each.name}"):
        match each.source:
            case FileSource(path) if os.path.isfile(path):
                with read_value(path, max_bytes=_most_bytes(each)) as value:
                    check_size(each.kind, value.size)
            case FileSource(path) if not os.path.exists(path) or os.path.isdir(path):
                with read_value(path, max_bytes=1):
                    pass
            case VariableSource() | TextSource():
                with _value(each) as value:
                    check_size(each.kind, value.size)


def create(client: Client, each: StackObject, undo: Undo) -> str:
    """Make it; its id."""
    noun = each.kind.value
    with doing(f"create {noun} {each.name}"), undo.act(f"{noun} {each.name}", lambda: _delete(client, each)):
        answer, stray = _posted(client, each)
    if stray:
        _warn_of_newline(each)
    return answers.text(answer, "ID")


def update(client: Client, each: StackObject, found: object, undo: Undo) -> bool:
    """Give it the value and the labels of the file; whether that is another value."""
    with doing(f"update {each.kind.value} {each.name}"):
        rotated = each.source is not None and _rotate(client, each, found, undo)
        _relabel(client, each, found, undo)
        return rotated


def _posted(client: Client, each: StackObject) -> tuple[object, bool]:
    """The answer, and whether the value ends a line."""
    fields: dict[str, object] = {"Name": each.name, "Labels": dict(each.labels)}
    if each.driver:
        fields["Driver"] = {"Name": each.driver, "Options": dict(each.driver_options or {})}
    if each.template_driver:
        fields["Templating"] = {"Name": each.template_driver}
    path = f"/{each.kind.value}s/create"
    if each.source is None:
        return client.post(path, encoded(fields)), False
    with _value(each) as value, value_body(fields, value) as body:
        return client.post(path, body), value.stray_newline


def _delete(client: Client, each: StackObject) -> None:
    """By its name, and its labels: when nobody heard its id, nobody knows whether it was made, and by whom."""
    found = client.get(f"/{each.kind.value}s/{quoted(each.name)}")
    if answers.labels(found, "Spec", "Labels") == each.labels:
        client.delete(f"/{each.kind.value}s/{answers.text(found, 'ID')}")


def _relabel(client: Client, each: StackObject, found: object, undo: Undo) -> None:
    before = answers.labels(found, "Spec", "Labels")
    if before == each.labels:
        return
    path = f"/{each.kind.value}s/{answers.text(found, 'ID')}"

    def label(labels: dict[str, str]) -> None:
        version = str(answers.number(client.get(path), "Version", "Index"))
        body = {"Name": answers.text(found, "Spec", "Name"), "Labels": labels}
        client.post(f"{path}/update", encoded(body), {"version": version})

    with undo.act(f"labels of {each.kind.value} {each.name}", lambda: label(before)):
        label(dict(each.labels))


def _rotate(client: Client, each: StackObject, found: object, undo: Undo) -> bool:
    noun = each.kind.value
    path = f"/secretfs/v1/{noun}s/{answers.text(found, 'ID')}"
    answer: object = None

    def take_back() -> None:
        new = answers.number(answer, "Version") if answer else _unheard(client, each.kind, found)
        if new:
            client.post(f"{path}/rollback", encoded({"Version": new - 1}))

    with (
        undo.act(f"the new value of {noun} {each.name}", take_back),
        _value(each) as value,
        value_body({}, value) as body,
    ):
        answer = client.post(f"{path}/versions", body)
        stray = value.stray_newline
    if answers.at(answer, "Unchanged"):
        undo.forget()
        return False
    for text in answers.items(answer, "Warnings"):
        output.warning(str(text), ["the new version is kept, and shown as soon as that can be done"])
    if stray:
        _warn_of_newline(each)
    return True


def _warn_of_newline(each: StackObject) -> None:
    """It is the file that has to change: a value given beside it is the file's again after the next deploy."""
    if isinstance(each.source, FileSource):
        warn_of_newline(each.kind.value, each.name, f"printf %s VALUE >{shlex.quote(each.source.path)}")


def _unheard(client: Client, kind: Kind, found: object) -> int:
    """The version that was made by a request whose answer nobody heard; 0 when the object is as it was found."""
    path = f"{kind.value}s/{answers.text(found, 'ID')}"
    if answers.at(client.get(f"/{path}"), "Version") == answers.at(found, "Version"):
        return 0
    return answers.number(answers.items(client.get(f"/secretfs/v1/{path}/versions"))[-1], "Version")


@contextmanager
def doing(act: str) -> Iterator[None]:
    """Say in a refusal what was refused."""
    try:
        yield
    except SecretfsError as exc:
        kept = UnavailableError if isinstance(exc, UnavailableError) else SecretfsError
        failure = kept(f"failed to {act}: {exc}")
        for note in getattr(exc, "__notes__", ()):
            failure.add_note(note)
        raise failure from None


@contextmanager
def _value(each: StackObject) -> Iterator[Value]:
    """The value, from where the file says."""
    match each.source:
        case FileSource(path):
            with read_value(path, max_bytes=_most_bytes(each)) as value:
                yield value
        case VariableSource(name):
            content = os.environb.get(os.fsencode(name))
            if content is None:
                raise InvalidArgumentError(f"environment variable {name} is not set")
            with given_value(content) as value:
                yield value
        case TextSource(text):
            with given_value(os.fsencode(text)) as value:
                yield value
        case None:
            raise AssertionError("a driver has the value")


def _most_bytes(each: StackObject) -> int:
    """One more than there may be: the daemon refuses the rest."""
    return MAX_BYTES[each.kind] + 1
