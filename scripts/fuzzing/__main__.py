"""What scripts/fuzz runs: each target takes text, and may refuse it; anything else is a finding."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris
import h11
import trio

with atheris.instrument_imports(include=["secretfs"]):
    from secretfs.cli.template import parsed as parsed_template
    from secretfs.cli.template import rendered
    from secretfs.control.api import heads
    from secretfs.control.api.docker.base64 import value_of
    from secretfs.control.api.docker.events import wanted_of
    from secretfs.control.api.docker.json import decoded, raw_fields
    from secretfs.control.api.docker.query import filters_of
    from secretfs.control.api.docker.spec import service_draft
    from secretfs.control.api.http import Request, split_target
    from secretfs.control.audit import Caller
    from secretfs.control.usecases.filters import matches
    from secretfs.core.compose.build import build
    from secretfs.core.compose.emit import emitted
    from secretfs.core.compose.interpolate import Interpolation
    from secretfs.core.compose.load import parsed
    from secretfs.core.compose.merge import merged
    from secretfs.core.compose.read import read
    from secretfs.core.grant import parse_grant, parse_target
    from secretfs.core.names import Kind
    from secretfs.errors import BadRequestError, ComposeError, InvalidArgumentError, InvalidGrantError, InvalidNameError

VARIABLES = {"A": "a", "EMPTY": "", "MODE": "0440", "LONG": "x" * 100, "BYTES": "a\udcff", "ODD": "\x01\n\u2028"}
SEPARATOR = "\n===\n"  # between the files of one input


def compose(text: str) -> None:
    """Files, as a stack; what is printed of them is the same stack."""
    with contextlib.suppress(ComposeError):
        file = _file(*text.split(SEPARATOR))
        stack = build(file, "st")
        again = _file(emitted(file))
        assert build(again, "st") == stack
        assert emitted(again) == emitted(file)


def interpolation(text: str) -> None:
    """Variables in a text."""
    with contextlib.suppress(ComposeError):
        out = Interpolation(VARIABLES).text(text)
        assert "$" in text or out == text


def grant(text: str) -> None:
    """The value of ``--secret``."""
    for kind in Kind:
        with contextlib.suppress(InvalidGrantError):
            request = parse_grant(text, kind)
            parse_target(request.target, kind)


def head(text: str) -> None:
    """The head of a request: what is read in one look is what h11 reads, and its target comes apart."""
    data = text.encode(errors="surrogateescape").replace(b"\n", b"\r\n")
    found = heads.plain(data)
    if found is None:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert found == heads.of_event(event)
    with contextlib.suppress(ValueError):
        split_target(found.target)


def body(text: str) -> None:
    """The body of any request: an object, its fields, a value in base64."""
    with contextlib.suppress(BadRequestError):
        for raw in raw_fields(_request(text)).values():
            decoded(raw)
            value_of(raw, "Spec.Data")


def service(text: str) -> None:
    """A service's spec; names of users and groups are looked up."""
    with contextlib.suppress(BadRequestError, InvalidGrantError, InvalidNameError):
        trio.run(service_draft, _request(text), lambda: "made_up")


def filters(text: str) -> None:
    """``filters`` of a query, in both shapes."""
    with contextlib.suppress(BadRequestError):
        found = filters_of(_request("", filters=text))
        matches(found, name="db", object_id="x" * 25, labels={"a": "b", "c": ""})


def events(text: str) -> None:
    """What of the events is wanted: filters, since, until."""
    given, _, times = text.partition("&")
    since, _, until = times.partition("&")
    with contextlib.suppress(BadRequestError):
        wanted_of(_request("", filters=given, since=since, until=until))


def form(text: str) -> None:
    """``--format``: a Go template."""
    with contextlib.suppress(InvalidArgumentError):
        rendered(parsed_template(text), ROW)


def _request(text: str, **query: str) -> Request:
    content = bytearray(text.encode(errors="surrogateescape"))
    return Request("POST", "/", query, {"content-type": "application/json"}, content, Caller(0, 0, 0))


def _file(*sources: str):
    variables = Interpolation(VARIABLES)
    trees = [variables.tree(parsed(source, f"{at}.yml")) for at, source in enumerate(sources)]
    return merged([read(tree, "/d") for tree in trees])


ROW = {"ID": "x" * 25, "Name": "db", "Spec": {"Labels": {"a": "b"}, "Secrets": [{"UID": 1}, None, True]}, "N": -1.5}
TARGETS: dict[str, Callable[[str], None]] = {
    each.__name__: each for each in (compose, interpolation, grant, head, body, service, filters, events, form)
}
SERVICE = """{"Name":"w","Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"i",
"Secrets":[{"SecretID":"s","SecretName":"n","File":{"Name":"t","UID":"1","GID":"2","Mode":288}}],
"Configs":[{"ConfigID":"c","Runtime":{}}]}},"Mode":{"Replicated":{"Replicas":2}},"EndpointSpec":{}}"""
SEEDS = {
    "compose": (
        "services: {w: {image: i, secrets: [s, {source: t, target: a/b, uid: '7', mode: 04}], deploy: {replicas: 2}}}",
        "secrets: {s: {file: ./f, labels: [a=b]}, t: {external: true, name: '${A:-x}'}}",
        "configs: {c: {content: 'x$$y', template_driver: golang}, d: {environment: E}}",
        "x-a: &a {file: f}\nsecrets:\n  s:\n    <<: *a\n    name: n\n===\nsecrets: {s: {labels: {b: c}}}\n",
    ),
    "head": ("POST /v1.47/secrets/create?a=b%20c HTTP/1.1\nHost: x\nContent-Length: 12\nConnection: close\n\n",),
    "body": ('{"Name":"db","Data":"c2VjcmV0","Labels":{"a":"b"}}', '{"data":"c2\\nVj\\/w==","x":[[1e9]]}'),
    "service": (SERVICE,),
    "filters": ('{"name":{"db":true},"label":{"a=b":true}}', '{"id":["x"],"names":["db"]}'),
    "events": ('{"type":["secret"],"event":{"create":true}}&1700000000.000000001&1800000000',),
    "form": (
        '{{range $i, $s := .Spec.Secrets}}{{if eq $i 0}}{{json $s}}{{else}}{{printf "%05.1f" 1}}{{end}}{{end}}',
        "table {{.Name}}\t{{upper .ID}}",
    ),
    "interpolation": ("$A ${A} ${B:-x${A:+y}} $$ ${C?d} ${EMPTY:?e}",),
    "grant": ("source=a,target=b/c,uid=0,gid=root,mode=0440,version=1", '"source=a,b",mode=440', "a"),
}


def main() -> None:
    """``fuzzing.py TARGET CORPUS [LIBFUZZER FLAG...]``."""
    name, corpus, *flags = sys.argv[1:]
    for at, seed in enumerate(SEEDS[name]):
        (Path(corpus) / f"seed{at}").write_text(seed)
    target = TARGETS[name]
    atheris.Setup([sys.argv[0], corpus, *flags], lambda data: target(data.decode(errors="surrogateescape")))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
