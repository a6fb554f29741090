"""The API as the command line sees it, in dicts: a second implementation, which must pass the same
transcripts as the real one.

It runs in a thread. Beside being a daemon it can be a bad one: ``answers`` puts raw bytes in place of
every answer.
"""

import base64
import binascii
import json
import re
import socketserver
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9])?")
_SERVICE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?")
_TOO_MANY_BYTES = {"secret": 500 * 1024, "config": 1000 * 1024}
_MORE_FILTERS = {"secret": ("names",), "config": ()}
_PID = 4711


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def invalid(message: str) -> RefusedError:
    return RefusedError(400, f"rpc error: code = InvalidArgument desc = {message}")


class FakeDaemon:
    """The state; each method is a route."""

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self.objects: dict[str, dict[str, dict]] = {"secret": {}, "config": {}}
        self.services: dict[str, dict] = {}
        self.tasks: dict[str, dict] = {}
        self.records: list[dict] = []
        self.values: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.rotation: list[dict] = []  # what is told of it, each time that somebody asks
        self.answers: bytes | None = None
        self.warnings: list[str] | None = None
        self.before_update = lambda: None
        self._numbers = count(1)

    # what a test does behind the command line's back

    def attach(self, service: str | None = None, *names: str) -> str:
        task_id = self._id()
        found = self._find(self.services, "service", service) if service else None
        granted = [("secret", name, name) for name in names]
        for noun in ("config", "secret") if found else ():
            granted[:0] = [(noun, ref["Name"], ref["File"]["Name"]) for ref in _references(found["Spec"], noun)]
        grants = [
            {"Kind": noun, "Name": name, "Version": 1, "Target": target, "UID": 0, "GID": 0, "Mode": 292}
            | {"ID": self._find(self.objects[noun], noun, name)["ID"]}
            for noun, name, target in granted
        ]
        self.tasks[task_id] = {
            "ID": task_id,
            "Service": service or "",
            "ServiceID": found["ID"] if found else "",
            "PID": _PID,
            "Since": _now(),
            "State": "running",
            "TargetDir": "/run/secrets",
            "Grants": grants,
        }
        self._record("task attach", "task", task_id, service or "", {})
        return task_id

    # routes

    def create_object(self, noun: str, body: dict, _: dict) -> object:
        name = body.get("Name", "")
        if not name:
            raise invalid("name must be provided")
        if not _NAME.fullmatch(name):
            raise invalid(
                "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, "
                "and the start and end character must be [a-zA-Z0-9]"
            )
        try:
            data = base64.b64decode(body["Data"], validate=True)
        except binascii.Error:
            raise RefusedError(400, "invalid JSON: illegal base64 data at input byte 0") from None
        if not 0 < len(data) < _TOO_MANY_BYTES[noun]:
            raise invalid(f"{noun} data must be larger than 0 and less than {_TOO_MANY_BYTES[noun]} bytes")
        if any(known["Spec"]["Name"].lower() == name.lower() for known in self.objects[noun].values()):
            raise RefusedError(409, f"rpc error: code = AlreadyExists desc = {noun} {name} already exists")
        shown = {"Data": body["Data"]} if noun == "config" else {}
        made = self._object({"Name": name, "Labels": body.get("Labels") or {}, **shown})
        self.objects[noun][made["ID"]] = made
        self.values[name] = data
        self._record(f"{noun} create", noun, made["ID"], name, {"Version": 1})
        return {"ID": made["ID"]}

    def list_objects(self, noun: str, query: dict) -> object:
        return self._filtered(self.objects[noun], query, ("id", "label", "name", *_MORE_FILTERS[noun]))

    def inspect_object(self, noun: str, reference: str) -> object:
        return self._find(self.objects[noun], noun, reference)

    def remove_object(self, noun: str, reference: str) -> None:
        found = self._find(self.objects[noun], noun, reference)
        users = [
            service["Spec"]["Name"]
            for service in self.services.values()
            if any(ref["ID"] == found["ID"] for ref in _references(service["Spec"], noun))
        ]
        name = found["Spec"]["Name"]
        if users:
            plural = "service" if len(users) == 1 else "services"
            raise invalid(f"{noun} '{name}' is in use by the following {plural}: {', '.join(users)}")
        del self.objects[noun][found["ID"]]
        self._record(f"{noun} rm", noun, found["ID"], name, {})

    def create_service(self, body: dict, _: dict) -> object:
        name = body["Name"]
        if not _SERVICE_NAME.fullmatch(name):
            raise invalid("name must be valid as a DNS name component")
        if any(known["Spec"]["Name"].lower() == name.lower() for known in self.services.values()):
            message = f"name conflicts with an existing object: service {name} already exists"
            raise RefusedError(409, f"rpc error: code = AlreadyExists desc = {message}")
        self._check(body)
        made = self._object(body)
        self.services[made["ID"]] = made
        self._record("service create", "service", made["ID"], name, _detail(body))
        return {"ID": made["ID"], "Warnings": self.warnings}

    def list_services(self, query: dict) -> object:
        running = [task["ServiceID"] for task in self.tasks.values()]
        return [
            service | {"ServiceStatus": {"RunningTasks": running.count(service["ID"])}}
            for service in self._filtered(self.services, query, ("id", "label", "name"))
        ]

    def inspect_service(self, reference: str) -> object:
        return self._find(self.services, "service", reference)

    def update_service(self, reference: str, body: dict, query: dict) -> object:
        self.before_update()
        service = self._find(self.services, "service", reference)
        if query["version"] != str(service["Version"]["Index"]):
            raise RefusedError(500, "rpc error: code = Unknown desc = update out of sequence")
        self._check(body)
        service |= {"Spec": body, "Version": {"Index": next(self._numbers)}, "UpdatedAt": _now()}
        self.services[service["ID"]] = service
        self._record("service update", "service", service["ID"], body["Name"], _detail(body))
        return {"Warnings": self.warnings}

    def remove_service(self, reference: str) -> None:
        service = self._find(self.services, "service", reference)
        del self.services[service["ID"]]
        self.tasks = {key: task for key, task in self.tasks.items() if task["ServiceID"] != service["ID"]}
        self._record("service rm", "service", service["ID"], service["Spec"]["Name"], {})

    def detach(self, reference: str) -> None:
        del self.tasks[self._find(self.tasks, "task", reference)["ID"]]

    # rules

    def _check(self, spec: dict) -> None:
        for noun in self.objects:
            self._check_references(noun, _references(spec, noun))

    def _check_references(self, noun: str, references: list[dict]) -> None:
        seen: dict[str, str] = {}
        for reference in references:
            name, file = reference["Name"], reference["File"]
            if reference["ID"] not in self.objects[noun]:
                raise invalid(f"{noun} not found: {name}")
            if file["Name"] in seen:
                other = seen[file["Name"]]
                raise invalid(f"{noun} references '{other}' and '{name}' have a conflicting target: '{file['Name']}'")
            if file["UID"] == "nosuchuser":
                raise invalid("unknown user 'nosuchuser': this host has none of that name")
            seen[file["Name"]] = name

    def _find(self, objects: dict[str, dict], noun: str, reference: str) -> dict:
        if reference in objects:
            return objects[reference]
        for known in objects.values():
            if known.get("Spec", {}).get("Name", "").lower() == reference.lower() != "":
                return known
        matches = [known for key, known in objects.items() if key.startswith(reference)]
        if not matches:
            raise RefusedError(404, f"{noun} {reference} not found")
        if len(matches) > 1:
            raise RefusedError(400, f"{noun} {reference} is ambiguous ({len(matches)} matches found)")
        return matches[0]

    def _filtered(self, objects: dict[str, dict], query: dict, known: tuple[str, ...]) -> list[dict]:
        filters = {key: list(values) for key, values in json.loads(query.get("filters", "{}")).items()}
        for key in filters:
            if key not in known:
                raise RefusedError(400, f"invalid filter '{key}'")
        return [item for item in objects.values() if _wanted(item, filters)]

    def _object(self, spec: dict) -> dict:
        now = _now()
        index = {"Index": next(self._numbers)}
        return {"ID": self._id(), "Version": index, "CreatedAt": now, "UpdatedAt": now, "Spec": spec}

    def _id(self) -> str:
        return f"{'abc'[next(self._numbers) % 3]}{next(self._numbers):024d}"

    def _record(self, action: str, kind: str, ref: str, name: str, detail: dict) -> None:
        record = {"Time": _now(), "Action": action, "Kind": kind, "ID": ref, "Name": name}
        number = {"Number": len(self.records)}
        self.records.append(record | {"UID": 0, "PID": _PID, "Detail": detail} | number)


def _references(spec: dict, noun: str) -> list[dict]:
    """The grants of a kind, with its name taken off their keys."""
    word = noun.capitalize()
    found = spec["TaskTemplate"]["ContainerSpec"].get(f"{word}s") or []
    return [{key.removeprefix(word): value for key, value in reference.items()} for reference in found]


def _detail(spec: dict) -> dict:
    granted = [*_references(spec, "secret"), *_references(spec, "config")]
    return {"Grants": [_words(ref["Name"], ref["File"]) for ref in granted]}


def _words(name: str, file: dict) -> str:
    return f"{name}:{file['Name']}:{file['UID']}:{file['GID']}:{file['Mode']:04o}"


def _wanted(item: dict, filters: dict[str, list[str]]) -> bool:
    spec = item["Spec"]
    named = [spec["Name"].lower().startswith(name.lower()) for name in filters.get("name", ())]
    named += [item["ID"].startswith(start) for start in filters.get("id", ())]
    labels = [label.partition("=") for label in filters.get("label", ())]
    labelled = all(key in spec["Labels"] and value in ("", spec["Labels"][key]) for key, _, value in labels)
    return labelled and (any(named) or not named)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    daemon: FakeDaemon

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.daemon.requests.append(self.requestline)
        if self.daemon.answers is not None:
            self.wfile.write(self.daemon.answers)
            self.close_connection = True
            return
        try:
            status, answer = self._routed(json.loads(body) if body else {})
        except RefusedError as refusal:
            status, answer = refusal.status, {"message": str(refusal)}
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if data:
            self.wfile.write(data)

    def _routed(self, body: dict) -> tuple[int, object]:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        parts = [urllib.parse.unquote(part) for part in url.path.split("/")[1:]]
        daemon = self.daemon
        match self.command, parts:
            case "POST", ["secrets" | "configs" as nouns, "create"]:
                return 201, daemon.create_object(nouns[:-1], body, query)
            case "GET", ["secrets" | "configs" as nouns]:
                return 200, daemon.list_objects(nouns[:-1], query)
            case "GET", ["secrets" | "configs" as nouns, reference]:
                return 200, daemon.inspect_object(nouns[:-1], reference)
            case "DELETE", ["secrets" | "configs" as nouns, reference]:
                return 204, daemon.remove_object(nouns[:-1], reference)
            case "POST", ["services", "create"]:
                return 201, daemon.create_service(body, query)
            case _:
                return self._more(parts, body, query)

    def _more(self, parts: list[str], body: dict, query: dict) -> tuple[int, object]:
        daemon = self.daemon
        match self.command, parts:
            case "GET", ["services"]:
                return 200, daemon.list_services(query)
            case "GET", ["services", reference]:
                return 200, daemon.inspect_service(reference)
            case "POST", ["services", reference, "update"]:
                return 200, daemon.update_service(reference, body, query)
            case "DELETE", ["services", reference]:
                return 200, daemon.remove_service(reference)
            case _, ["secretfs", "v1", *rest]:
                return self._native(rest, query)
        raise RefusedError(404, "page not found")

    def _native(self, parts: list[str], query: dict) -> tuple[int, object]:
        daemon = self.daemon
        match self.command, parts:
            case "GET", ["tasks"]:
                return 200, list(daemon.tasks.values())
            case "DELETE", ["tasks", reference]:
                return 204, daemon.detach(reference)
            case "GET", ["audit"]:
                return 200, daemon.records[int(query.get("after", "-1")) + 1 :]
            case "POST", ["keys", "rotation"]:
                return 202, {"ID": "0123456789abcdef"}
            case "GET", ["keys", "rotation"]:
                if not daemon.rotation:
                    raise RefusedError(503, "the rotation is over")
                return 200, daemon.rotation.pop(0)
        raise RefusedError(404, "page not found")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def fake_daemon(path: Path) -> Iterator[FakeDaemon]:
    """A daemon at the path, until the block ends."""
    daemon = FakeDaemon(path)
    handler = type("Handler", (_Handler,), {"daemon": daemon, "address_string": lambda _: "cli"})
    with _Server(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield daemon
        finally:
            server.shutdown()
            thread.join()
