"""Compose files, and what ``docker stack config`` of a real docker command line makes of their secrets and configs.

``python tests/core/compose_vectors.py`` writes ``vectors/compose.json`` anew, with the docker that is there. A vector
has its files, what docker says and, when secretfs says something else, that and the reason.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from secretfs.core.compose.build import check
from secretfs.core.compose.interpolate import Interpolation
from secretfs.core.compose.load import parsed
from secretfs.core.compose.merge import merged
from secretfs.core.compose.model import ComposeFile, Definition, FileSource, TextSource, VariableSource
from secretfs.core.compose.read import read
from secretfs.core.grant_syntax import DEFAULT_MODE
from secretfs.core.names import Kind
from secretfs.errors import ComposeError

VECTORS = Path(__file__).parent / "vectors" / "compose.json"
COUNT = 200
DIRECTORY = "/compose"
ENVIRONMENT = {"MODE": "0440", "OMODE": "0o400", "STAGE": "prod", "FILE": "db.txt", "EMPTY": "", "YES": "yes"}
REASONS = {
    "octal": "a mode is octal and says so: 440 is docker's 0670, and 288, 0x120, 0b… are refused with what was meant",
    "text mode": 'a mode may be a text: "0440" and "${MODE}" are 0440; docker refuses the one, makes 0670 of the other',
    "owner": "an owner may be a number: docker wants 103 in quotes",
    "nested": "a word may have variables: ${A:-${B}}; docker ends it at the first brace",
    "plus": "${A+word} and ${A:+word} are the Compose Specification's; docker has neither",
    "bare": "$NAME ends with the name; docker takes what follows a minus for a default and drops it",
    "slip": "an unknown key of a grant is refused; docker passes over it, and mod: 0400 shows a secret to all",
    "source": "environment and content are the Compose Specification's; docker has neither",
    "none": "a secret with no value is refused when it is read; docker takes its directory for its file",
    "external": "what is external has a name only, as the Compose Specification says; docker passes over the rest",
    "fields": "a later file that gives a secret a label leaves it its file; docker takes the directory for the file",
    "targets": "a source that has several targets keeps them when files are merged; docker's merge leaves one",
    "version": "the version is not looked at, as the Compose Specification says",
    "boolean": "yes, no, on, off and texts are booleans; docker takes them from a variable only",
    "label": "a label is the text that was written; docker refuses true and turns 1.50 into 1.5",
    "text": "a number where a text is wanted is the text that was written; docker refuses it",
    "documents": "a second document is refused; docker does not see it",
    "undefined": "a grant of what is not defined is refused when it is read; docker does so when it deploys",
    "target": "a target that no file can have is refused when it is read; docker's task fails",
    "duplicate": "two grants at one target are refused when they are read; docker does so when it deploys",
    "name": "the top-level name, and other keys of the Compose Specification, are allowed",
}


# --- what secretfs says ---


def ours(files: list[str]) -> object:
    """What secretfs makes of the files, as plain values; a refusal is its text."""
    try:
        interpolation = Interpolation(ENVIRONMENT)
        trees = [interpolation.tree(parsed(text, f"{at}.yml")) for at, text in enumerate(files)]
        file = merged([read(tree, DIRECTORY) for tree in trees])
        check(file)
    except ComposeError as exc:
        return f"refused: {exc}"
    return plain(file)


def plain(file: ComposeFile) -> dict[str, object]:
    """The secrets, configs and grants of a file, without defaults and in order."""
    services = {
        key: {
            f"{kind.value}s": sorted(_grant(r.source, r.target, r.uid, r.gid, r.mode) for r in service.grants[kind])
            for kind in Kind
            if service.grants[kind]
        }
        for key, service in sorted(file.services.items())
    }
    found: dict[str, object] = {"services": services}
    for kind in Kind:
        found[f"{kind.value}s"] = {key: _definition(each) for key, each in sorted(file.definitions[kind].items())}
    return found


def _grant(source: str, target: str | None, uid: str, gid: str, mode: int) -> str:
    """Its source alone, when all else is as usual."""
    usual = (target or source, uid, gid, mode) == (source, "0", "0", DEFAULT_MODE)
    return source if usual else f"{source} {target or source} {uid}:{gid} {mode:04o}"


def _definition(each: Definition) -> dict[str, object]:
    source = {FileSource: "file", VariableSource: "environment", TextSource: "content"}.get(type(each.source))
    fields: dict[str, object] = {
        "name": each.name or (each.key if each.external else ""),
        "external": bool(each.external),
        "labels": dict(each.labels),
        "driver": each.driver,
        "driver_opts": dict(each.driver_options),
        "template_driver": each.template_driver,
    }
    if source:
        fields[source] = getattr(each.source, {"file": "path", "environment": "name", "content": "text"}[source])
    return {key: value for key, value in fields.items() if value}


# --- what docker says ---


def dockers(files: list[str]) -> object:
    """What docker makes of them, in the same form."""
    with tempfile.TemporaryDirectory() as directory:
        flags = []
        for at, text in enumerate(files):
            (Path(directory) / f"{at}.yml").write_text(text)
            flags += ["-c", f"{at}.yml"]
        command = ["docker", "stack", "config", *flags]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": directory, **ENVIRONMENT}
        done = subprocess.run(command, capture_output=True, text=True, cwd=directory, env=environment, timeout=60)
        if done.returncode:
            return f"refused: {done.stderr.strip()}"
        return _as_plain(yaml.safe_load(done.stdout.replace(directory, DIRECTORY)))


def _as_plain(config: Mapping) -> dict[str, object]:
    services = {}
    for key, service in sorted((config.get("services") or {}).items()):
        services[key] = {
            section: sorted(
                _grant(g["source"], g.get("target"), g.get("uid", "0"), g.get("gid", "0"), g.get("mode", DEFAULT_MODE))
                for g in service[section]
            )
            for section in ("secrets", "configs")
            if service.get(section)
        }
    found: dict[str, object] = {"services": services}
    for section in ("secrets", "configs"):
        found[section] = {
            key: {name: value for name, value in each.items() if value and not name.startswith("x-")}
            for key, each in sorted((config.get(section) or {}).items())
        }
    return found


# --- files ---


class _Odd:
    """Whether there is to be something odd here: once in all the files, or never."""

    def __init__(self, dice: random.Random, *, wanted: bool) -> None:
        self._dice = dice
        self._wanted = wanted

    def here(self, chance: float) -> bool:
        if not self._wanted or self._dice.random() >= chance:
            return False
        self._wanted = False
        return True


def generated(seed: int) -> list[str]:
    """One to three files; of two seeds, one mostly has something odd in them."""
    dice = random.Random(seed)
    odd = _Odd(dice, wanted=seed % 2 == 1)
    names = {"secrets": ["db", "api_key", "tls.key"], "configs": ["site", "app-conf"]}
    count = dice.choice((1, 1, 1, 2, 2, 3))
    return [_file(dice, names, odd=odd) for _ in range(count)]


def _file(dice: random.Random, names: Mapping[str, list[str]], *, odd: _Odd) -> str:
    lines = [dice.choice(('version: "2.4"', "version: 3.8", "name: app")) if odd.here(0.05) else 'version: "3.8"']
    shared = dice.random() < 0.3
    if shared:
        lines += ["x-common: &common", "  file: ./common.txt", "  labels: {common: '1'}"]
    lines.append("services:")
    for service in dice.sample(("web", "worker", "redis"), dice.randint(1, 2)):
        lines += [f"  {service}:", f"    image: {dice.choice(_IMAGES)}", *dice.choice(_OTHER_KEYS)]
        for section, known in dice.sample(sorted(names.items()), dice.randint(1, 2)):
            lines += [f"    {section}:", *_grants(dice, known, odd=odd)]
    for section, known in names.items():
        lines.append(f"{section}:")
        for key in known:
            lines += [f"  {key}:", *_lines(dice, section, key, odd=odd, shared=shared)]
    if odd.here(0.05):
        lines += ["---", "services: {}"]
    return "\n".join(lines) + "\n"


def _grants(dice: random.Random, known: list[str], *, odd: _Odd) -> Iterator[str]:
    targets = dice.sample(("t1", "t2", "sub/t3", "/run/secrets/t4"), 4)
    for key in dice.sample(known, dice.randint(1, len(known))):
        if dice.random() < 0.4:
            yield f"      - {dice.choice((key, repr(key)))}"
        else:
            yield f"      - source: {key}"
            yield from _long(dice, targets.pop(), odd=odd)
        if dice.random() < 0.1:
            yield f"      - {{source: {key}, target: second/{key}}}"
    if odd.here(0.05):
        yield dice.choice(("      - nope", "      - {source: nope}", f"      - {known[0]}\n      - {known[0]}"))


def _long(dice: random.Random, target: str, *, odd: _Odd) -> Iterator[str]:
    """What the long syntax says besides the source."""
    if dice.random() < 0.7:
        yield f"        target: {'../t' if odd.here(0.02) else target}"
    if dice.random() < 0.5:
        yield f"        uid: {103 if odd.here(0.03) else dice.choice(_OWNERS)}"
        yield f"        gid: {dice.choice(_OWNERS)}"
    if dice.random() < 0.7:
        yield f"        mode: {dice.choice(_ODD_MODES if odd.here(0.25) else _MODES)}"
    if odd.here(0.03):
        yield dice.choice(("        mod: 0400", "        x-note: 1"))


_IMAGES = ("busybox", "redis:latest", "${STAGE}/web:1.0")
_OTHER_KEYS = (
    [], [], ["    deploy: {replicas: 2}"], ["    ports: ['80:80']"], ["    environment: {A: b}"],
)  # fmt: skip
_OWNERS = ("'103'", '"0"', "'1000'", '"${UNSET-7}"')
_MODES = ("0440", "0400", "0o444", "0", "0777", "00440")
_ODD_MODES = ("440", "288", '"0440"', '"${MODE}"', "${OMODE}", "0x120", "0O440", "1.5", "'rw'", "4755", "04755")


def _lines(dice: random.Random, section: str, key: str, *, odd: _Odd, shared: bool) -> list[str]:
    kind = dice.random()
    name = [f"    name: {dice.choice(_NAMES)}"]
    if odd.here(0.2):
        return dice.choice(_ODD_DEFINITIONS[section])
    if shared and kind < 0.3:
        return ["    <<: *common", *dice.choice(([], [f"    name: {key}_${{STAGE}}"]))]
    if kind < 0.5:
        return ["    external: true", *dice.choice(([], name))]
    if kind < 0.55:
        return [f"    external: {{name: old_{section[:-1]}}}"]
    more = [*dice.choice(([], [], name)), *dice.choice((*_LABELS, [], [], [], []))]
    return [f"    file: {dice.choice(_PATHS)}", *more, *dice.choice(([],) * 5 + (["    template_driver: golang"],))]


_PATHS = (
    "./db.txt",
    "sub/../db.txt",
    "${FILE}",
    "/abs/db.txt",
    "${UNSET:-fallback}.txt",
    "~/db.txt",
    "'a b.txt'",
    "a$$b",
)
_NAMES = ("plain", "db_${STAGE}", "${STAGE}-${UNSET-v1}", '"${EMPTY:-x}"', "n$STAGE", "$$n")
_LABELS = (
    ["    labels: {a: b, c: ''}"], ["    labels:", "      - a=b", "      - c", "      - d=e=f"],
    ["    labels: {stage: '${STAGE}', n: 1}"], ["    labels: {a: ~}"],
)  # fmt: skip
_ODD_COMMON = (
    ["    file: ./a.txt", "    name: ${A:-${STAGE}}"], ["    file: ./a.txt", "    name: x${STAGE:+y}"],
    ["    file: ./a.txt", "    name: $STAGE-x"], ["    file: ./a.txt", "    name: ${UNSET?must be set}"],
    ["    file: ./a.txt", "    name: ${"], ["    file: ./a.txt", "    nmae: x"], ["    file: ./a.txt", "    x-note: y"],
    ["    environment: STAGE"], ["    external: true", "    file: ./a.txt"], ["    external: yes"],
    ['    external: "${YES}"'], ["    external: false", "    file: ./a.txt"], ["    labels: {only: a}"],
    ["    file: ./a.txt", "    labels: {a: true, b: 1.50, c: 0440}"], ["    file: ./a.txt", "    file: ./b.txt"],
    ["    external: {name: a}", "    name: b"], ["    <<: *nowhere"], ["    file: [a]"], ["    file: ''"], ["    ~"],
    ["    name: only_a_name"], ["    file: a", "    environment: STAGE"], ["    external: maybe"],
    ["    external: {nme: a}"], ["    file: 7"], ["    labels: [a, 1]", "    file: f"],
)  # fmt: skip
_ODD_DEFINITIONS = {
    "secrets": (
        *_ODD_COMMON, ["    driver: vault", "    driver_opts: {a: 1}"], ["    driver: vault", "    file: f"],
        ["    content: x"],
    ),
    "configs": (*_ODD_COMMON, ["    content: |", "      a", "      $STAGE"], ["    driver: vault"]),
}  # fmt: skip


# --- writing them down ---


def reason_for(files: list[str], docker: object, own: object) -> str:
    """Which of the reasons it is; the first whose sign is there."""
    text = "\n".join(files)
    refusal = own if isinstance(own, str) else ""
    signs: tuple[tuple[str, bool], ...] = (
        ("octal", "invalid mode specified" in refusal),
        ("slip", "unknown key" in refusal),
        ("documents", "a second document" in refusal),
        ("none", "has no value" in refusal or "file is empty" in refusal),
        ("text", any(f"{part} must be a string" in str(docker) for part in ("labels.1", ".file"))),
        ("external", "is external: it is there already" in refusal),
        ("undefined", "undefined secret" in refusal or "undefined config" in refusal),
        ("duplicate", "target for" in refusal or "conflicting target" in refusal),
        ("target", "invalid target" in refusal),
        ("plus", ":+" in text),
        ("nested", ":-${" in text),
        ("bare", "$STAGE-x" in text),
        ("text mode", any(mode in text for mode in (' "0440"', '"${MODE}"', "${OMODE}"))),
        ("owner", "uid must be a string" in str(docker)),
        ("source", "content: " in text or "environment: STAGE" in text),
        ("boolean", "external: yes" in text),
        ("label", "a: true" in text),
        ("version", "version" in str(docker)),
        ("name", "name is not allowed" in str(docker)),
        ("fields", isinstance(docker, dict) and len(files) > 1 and _definitions(docker) != _definitions(own)),
        ("targets", len(files) > 1),
    )
    return next((reason for reason, sign in signs if sign), "?")


def _definitions(config: object) -> object:
    return [config[section] for section in ("secrets", "configs")] if isinstance(config, dict) else None


def agree(docker: object, own: object) -> bool:
    """Whether both say the same; what both refuse, each refuses in its words."""
    return (isinstance(docker, str) and isinstance(own, str)) or docker == own


def write() -> None:
    version = subprocess.run(["docker", "--version"], capture_output=True, text=True, check=True).stdout
    vectors = []
    for seed in range(COUNT):
        files = generated(seed)
        docker, own = dockers(files), ours(files)
        vector: dict[str, object] = {"files": files, "docker": docker}
        if not agree(docker, own):
            vector |= {"ours": own, "reason": reason_for(files, docker, own)}
        vectors.append(vector)
    lines = ",\n".join(json.dumps(vector, separators=(",", ":"), ensure_ascii=False) for vector in vectors)
    head = json.dumps(
        {"docker": re.findall(r"[0-9.]+", version)[0], "environment": ENVIRONMENT, "reasons": REASONS}, indent=1
    )
    VECTORS.write_text(f'{head[:-2]},\n "vectors": [\n{lines}\n]}}\n')
    reasons = [str(vector["reason"]) for vector in vectors if "reason" in vector]
    sys.stdout.write(f"{len(vectors)} vectors, {len(reasons)} differ\n")
    for reason in sorted(set(reasons)):
        sys.stdout.write(f"  {reasons.count(reason):3} {reason}\n")


if __name__ == "__main__":
    write()
