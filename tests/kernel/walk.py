"""A random walk through the API: the same requests to two daemons, each with the ids that it has given out itself."""

import base64
import http.client
import json
import random
import re
import urllib.parse
from dataclasses import dataclass, field

from daemons import Unix

# None of the first is the start of an id by chance: ids have no capitals, dots or dashes.
NAMES = ("a.a", "A.a", "b.b", "c-1", "sv-c", "Sv-2", "", "-a", "a b", "é", "x.x" + "x" * 61, "x" * 65, "no.pe")
LABELS = ({}, {"k": "v"}, {"k": ""}, {"k": "w", "l": "1"}, None, [], "x", {"k": 1}, {"": "empty"})
DATA = (
    base64.b64encode(b"one").decode(), base64.b64encode(b"two").decode(), base64.b64encode(b"\0\xff").decode(),
    "", None, "b25l\n", "b25", "b2-l", "=b25", 5, {},
)  # fmt: skip
FILTERS = (
    {"name": ["a"]}, {"name": {"A": True}}, {"name": {"A": False}}, {"name": ["b", "c"]}, {"id": ["no.pe"]},
    {"label": ["k"]}, {"label": ["k=v"]}, {"label": ["k="]}, {"label": {"k=w": True, "l": True}}, {"foo": ["x"]},
    {}, {"name": []}, {"name": [""]},
)  # fmt: skip
_PLAIN = {"ContainerSpec": {"Image": "busybox"}}
MODES = (0o444, 0o400, 0, 0o777, 0o4755)


@dataclass
class Walker:
    """One of the two."""

    socket: str
    ids: dict[tuple[str, str], str] = field(default_factory=dict)  # kind and folded name: id
    revs: dict[tuple[str, str], int] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        connection = Unix(self.socket)
        try:
            content = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        return answer.status, _parsed(text, answer)


def _parsed(text: str, answer: http.client.HTTPResponse) -> object:
    return json.loads(text) if text.strip() and "json" in answer.headers.get("Content-Type", "") else text


class Walk:
    """What is asked next, by the dice; every step is the same for both."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def step(self) -> tuple[str, str, dict[str, object]]:
        """Method, path and body, with ``ID:kind:name`` and ``REV:kind:name`` for what each walker knows by itself."""
        return self.dice.choice((self.create, self.create, self.look, self.list, self.update, self.remove, self.service,
                                 self.service, self.service_update))()  # fmt: skip

    def kind(self) -> str:
        return self.dice.choice(("secret", "config"))

    def name(self) -> str:
        return self.dice.choice(NAMES[:5] * 3 + NAMES)

    def reference(self, kind: str) -> str:
        name = self.dice.choice(NAMES[:6])
        return self.dice.choice((name, f"ID:{kind}:{name}", f"ID:{kind}:{name}", "no.pe"))

    def spec(self) -> dict[str, object]:
        dice = self.dice
        spec: dict[str, object] = {dice.choice(("Name", "name", "NAME")): self.name()}
        wrong = dice.random()  # one thing at a time: which of two is said first is nobody's business
        if dice.random() < 0.9:
            spec[dice.choice(("Data", "data"))] = dice.choice(DATA if wrong < 0.2 else DATA[:3])
        if dice.random() < 0.6:
            spec[dice.choice(("Labels", "labels"))] = dice.choice(LABELS if wrong > 0.8 else LABELS[:4])
        if dice.random() < 0.1:
            spec["Unknown"] = [1, {"x": None}]
        return spec

    def create(self):
        return "POST", f"/{self.kind()}s/create", self.spec()

    def look(self):
        kind = self.dice.choice(("secret", "config", "service"))
        return "GET", f"/{kind}s/{self.reference(kind)}", None

    def list(self):
        kind = self.dice.choice(("secret", "config", "service"))
        filters = json.dumps(self.dice.choice(FILTERS))
        return "GET", f"/{kind}s?filters={urllib.parse.quote(filters)}", None

    def update(self):
        kind = self.kind()
        reference = self.reference(kind)
        version = self.dice.choice(("1", "x", "", f"REV:{reference}", f"REV:{reference}", f"REV:{reference}"))
        spec = self.spec()
        if self.dice.random() < 0.6:
            spec = {key: value for key, value in spec.items() if key.lower() != "data"}
        return "POST", f"/{kind}s/{reference}/update?version={version}", spec

    def remove(self):
        kind = self.dice.choice(("secret", "config", "service", "service"))
        return "DELETE", f"/{kind}s/{self.reference(kind)}", None

    def grant(self, kind: str, wrong: float) -> dict[str, object]:
        dice, word = self.dice, kind.capitalize()
        name = dice.choice(NAMES[:4])
        file = {"Name": dice.choice((name, name, "t", "u/v")), "UID": "0", "GID": "0", "Mode": dice.choice(MODES)}
        grant = {f"{word}ID": f"ID:{kind}:{name}", f"{word}Name": name, "File": file}
        if wrong < 0.05:
            grant[f"{word}Name"] = dice.choice(NAMES[:4])
        elif wrong < 0.1:
            file["Name"] = ""
        elif wrong < 0.2:
            del grant[dice.choice([f"{word}ID", f"{word}Name"])]
        return grant

    def service_spec(self) -> dict[str, object]:
        container: dict[str, object] = {"Image": "busybox"}
        wrong, kind = self.dice.random(), self.kind()  # one thing at a time, as above
        container[f"{kind.capitalize()}s"] = [self.grant(kind, wrong) for _ in range(self.dice.randrange(3))]
        return {
            "Name": self.dice.choice(("a b", "w.x") if wrong > 0.9 else ("sv-c", "sv-c", "Sv-2")),
            "Labels": self.dice.choice(LABELS[:4]),
            "TaskTemplate": {"ContainerSpec": container},
            "Mode": {"Replicated": {"Replicas": 0}},
        }

    def service(self):
        return "POST", "/services/create", self.service_spec()

    def service_update(self):
        reference = self.dice.choice(("sv-c", "Sv-2"))
        version = self.dice.choice((f"REV:{reference}", f"REV:{reference}", f"REV:{reference}", "1", "x"))
        path = f"/services/{reference}/update?version={version}"
        if (
            self.dice.random() < 0.3
        ):  # with what was there before, as Docker's client does: secretfs looks at none of it
            return (
                "POST",
                f"{path}&rollback=previous",
                self.service_spec() | {"Name": reference, "TaskTemplate": _PLAIN},
            )
        return "POST", path, self.service_spec()


def taken(walker: Walker, step: tuple[str, str, object]) -> tuple[int, object]:
    """What the walker is answered, with its own ids; it remembers what it is told."""
    method, path, body = step
    noun = path.split("/")[1].split("?")[0].rstrip("s")
    told = json.loads(_filled(walker, json.dumps([path, body]), noun))
    status, answer = walker.ask(method, urllib.parse.quote(told[0], safe="/?&=%:"), told[1])
    if status == 201 and isinstance(answer, dict) and isinstance(body, dict):
        name = next(value for key, value in body.items() if key.lower() == "name")
        walker.ids[noun, str(name).lower()] = answer["ID"]
    return status, masked(answer)


def _filled(walker: Walker, text: str, noun: str) -> str:
    def known(match: re.Match[str]) -> str:
        return walker.ids.get((match[1], match[2].lower()), "0" * 25)

    text = re.sub(r"ID:(secret|config|service):([^/\"?&]*)", known, text)
    return re.sub(r"REV:([^\"&]*)", lambda match: str(_rev(walker, noun, match[1])), text)


def _rev(walker: Walker, noun: str, reference: str) -> int:
    _, found = walker.ask("GET", f"/{noun}s/{urllib.parse.quote(reference)}")
    return found["Version"]["Index"] if isinstance(found, dict) and "Version" in found else 7


def masked(answer: object) -> object:
    """Without what each daemon has of its own, and without what an older engine says in other words."""
    if isinstance(answer, list):
        return sorted((masked(one) for one in answer), key=json.dumps)
    if isinstance(answer, dict):
        left_out = ("ID", "Version", "CreatedAt", "UpdatedAt", "UpdateStatus", "Endpoint", "SecretID", "ConfigID")
        return {key: masked(value) for key, value in answer.items() if key not in left_out and value is not None}
    if not isinstance(answer, str):
        return answer
    answer = re.sub(r"\b[0-9a-z]{25}\b", "ID", answer)
    return re.sub(r"^Invalid ", "invalid ", answer.removeprefix("invalid JSON: ")).strip()
