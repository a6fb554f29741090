"""What compose files are about: both syntaxes, all sources, and every refusal with its text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.core.compose.build import NAMESPACE, Stack, build, check
from secretfs.core.compose.emit import emitted
from secretfs.core.compose.interpolate import Interpolation
from secretfs.core.compose.load import parsed
from secretfs.core.compose.merge import merged
from secretfs.core.compose.model import ComposeFile, FileSource, TextSource, VariableSource
from secretfs.core.compose.read import read
from secretfs.core.compose.spec import unused
from secretfs.core.compose.tree import Place, Scalar
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind
from secretfs.errors import ComposeError, InvalidNameError


def file(*sources: str, **variables: str) -> ComposeFile:
    interpolation = Interpolation(variables)
    names = ("f.yml", "g.yml", "h.yml")
    return merged(
        [read(interpolation.tree(parsed(text, name)), "/d") for text, name in zip(sources, names, strict=False)]
    )


def stack(*sources: str, **variables: str) -> Stack:
    return build(file(*sources, **variables), "st")


def grant(written: str, **variables: str) -> GrantRequest:
    """The grant of service w that is written so."""
    text = f"services:\n  w:\n    secrets:\n      - {written}\nsecrets: {{s: {{external: true}}}}"
    return file(text, **variables).services["w"].grants[Kind.SECRET][0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("s", GrantRequest(Kind.SECRET, "s", "s")),
        ("'s'", GrantRequest(Kind.SECRET, "s", "s")),
        ("{source: s}", GrantRequest(Kind.SECRET, "s", "s")),
        ("{source: s, target: ''}", GrantRequest(Kind.SECRET, "s", "s")),
        ("{source: s, target: sub/t}", GrantRequest(Kind.SECRET, "s", "sub/t")),
        ("{source: s, uid: '103', gid: 104}", GrantRequest(Kind.SECRET, "s", "s", "103", "104")),
        ("{source: s, uid: redis, gid: staff}", GrantRequest(Kind.SECRET, "s", "s", "redis", "staff")),
        ("{source: s, x-why: because}", GrantRequest(Kind.SECRET, "s", "s")),
    ],
)
def test_a_grant_is_short_or_long(written: str, expected: GrantRequest) -> None:
    assert grant(written) == expected


@pytest.mark.parametrize("mode", ["0440", "0o440", "0O440", "'0440'", '"0o440"', '"${MODE}"', "${MODE}", "00440"])
def test_a_mode_is_octal_however_it_is_written(mode: str) -> None:
    assert grant(f"{{source: s, mode: {mode if mode != '${MODE}' else '0440'}}}", MODE="0440").mode == 0o440
    assert grant(f"source: s\n        mode: {mode}", MODE="0o440").mode == 0o440


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("440", "'440' has no leading 0: write 0440 for octal (docker reads it as 0670)"),
        ("'440'", "'440' has no leading 0: write 0440 for octal (docker reads it as 0670)"),
        ("288", "'288' is not octal: write it with a leading 0 (docker reads it as 0440)"),
        ("0x120", "'0x120' is not octal: write it with a leading 0 (docker reads it as 0440)"),
        ("0999", 'strconv.ParseUint: parsing "0999": invalid syntax'),
        ("1.5", 'strconv.ParseUint: parsing "1.5": invalid syntax'),
        ("-1", 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("''", 'strconv.ParseUint: parsing "": invalid syntax'),
        ("0777777777777", 'strconv.ParseUint: parsing "0777777777777": value out of range'),
    ],
)
def test_a_mode_that_does_not_say_octal_is_refused(mode: str, reason: str) -> None:
    with pytest.raises(ComposeError) as refused:
        grant(f"{{source: s, mode: {mode}}}")
    assert str(refused.value).endswith(f"f.yml:4: services.w.secrets.0: invalid mode specified: {reason}")


def test_sources_are_files_variables_and_texts() -> None:
    found = file(
        "secrets: {a: {file: ./a.txt}, b: {file: /abs}, c: {environment: C}, d: {file: ../x/./y}}\n"
        "configs: {e: {content: 'p=${P}'}, f: {environment: F}, g: {file: '~/g'}}",
        P="$x",
    )
    secrets, configs = found.definitions[Kind.SECRET], found.definitions[Kind.CONFIG]
    assert [secrets[key].source for key in "abcd"] == [
        FileSource("/d/a.txt"), FileSource("/abs"), VariableSource("C"), FileSource("/x/y"),
    ]  # fmt: skip
    assert [configs[key].source for key in "efg"] == [TextSource("p=$x"), VariableSource("F"), FileSource("/d/~/g")]


REFUSED = [
    ("bogus: 1", "f.yml:1: top level: unknown key 'bogus'"),
    ("secret: {}", "f.yml:1: top level: unknown key 'secret', did you mean 'secrets'?"),
    ("include: [a.yml]", "f.yml:1: top level: 'include' is not followed by secretfs"),
    ("services: {w: {extends: v}}", "f.yml:1: services.w: 'extends' is not followed by secretfs"),
    ("services: {w: {profiles: [p]}}", "f.yml:1: services.w: 'profiles' is not followed by secretfs"),
    ("services:\n  w:\n    secret: [s]", "f.yml:3: services.w: unknown key 'secret', did you mean 'secrets'?"),
    ("services: []", "f.yml:1: services must be a mapping"),
    ("services:", "f.yml:1: services must be a mapping"),
    ("services: {w: }", "f.yml:1: services.w must be a mapping"),
    ("services: {w: {secrets: s}}", "f.yml:1: services.w.secrets must be a list"),
    ("services: {w: {secrets: {s: }}}", "f.yml:1: services.w.secrets must be a list"),
    ("services: {w: {secrets: [[s]]}}", "f.yml:1: services.w.secrets.0 must be a mapping"),
    ("services: {w: {secrets: [~]}}", "f.yml:1: services.w.secrets.0 must be a string"),
    ("services: {w: {secrets: [{target: t}]}}", "f.yml:1: services.w.secrets.0: source is required"),
    ("services: {w: {secrets: [{source: s, mod: 0400}]}}",
     "f.yml:1: services.w.secrets.0: unknown key 'mod', did you mean 'mode'?"),
    ("services: {w: {secrets: [{source: s, uid: []}]}}", "f.yml:1: services.w.secrets.0.uid must be a string"),
    ("services: {w: {secrets: [{source: s, uid: ''}]}}",
     "f.yml:1: services.w.secrets.0: invalid uid specified: it is empty"),
    ("services: {w: {secrets: [{source: s, gid: -1}]}}",
     "f.yml:1: services.w.secrets.0: invalid uid or gid specified: '-1' is not in 0..4294967294"),
    ("services: {w: {secrets: [{source: s, target: ../t}]}}",
     "f.yml:1: services.w.secrets.0: invalid target '../t': '..' is not allowed"),
    ("services: {w: {secrets: [s, s]}}", "f.yml:1: services.w: duplicate secret target for s not allowed"),
    ("services: {'a b': {}}", "f.yml:1: services: 'a b' cannot be a key: only a-z A-Z 0-9 . _ - are allowed"),
    ("secrets: {'${A}': {}}", "f.yml:1: secrets: '${A}' cannot be a key: only a-z A-Z 0-9 . _ - are allowed"),
    ("secrets: {s: x}", "f.yml:1: secrets.s must be a mapping"),
    ("secrets: {s: {fil: x}}", "f.yml:1: secrets.s: unknown key 'fil', did you mean 'file'?"),
    ("secrets: {s: {content: x}}", "f.yml:1: secrets.s: a secret's value does not belong in a compose file"),
    ("secrets: {s: {file: }}", "f.yml:1: secrets.s.file must be a string"),
    ("secrets: {s: {file: ''}}", "f.yml:1: secrets.s.file is empty"),
    ("secrets: {s: {file: a, environment: B}}", "f.yml:1: secrets.s: only one of file, environment can be given"),
    ("secrets: {s: {external: maybe}}", "f.yml:1: secrets.s.external must be true or false"),
    ("secrets: {s: {external: {nme: a}}}", "f.yml:1: secrets.s.external: unknown key 'nme', did you mean 'name'?"),
    ("secrets: {s: {external: {name: a}, name: b}}",
     "f.yml:1: secret s: secret.external.name and secret.name conflict; only use secret.name"),
    ("secrets: {s: {driver: d, file: f}}",
     "f.yml:1: secret s: secret.driver and secret.file conflict; only use secret.driver"),
    ("secrets: {s: {labels: 7}}", "f.yml:1: secrets.s.labels must be a mapping or a list"),
    ("secrets: {s: {labels: {a: [b]}}}", "f.yml:1: secrets.s.labels.a must be a string"),
    ("configs: {s: {driver: d}}", "f.yml:1: configs.s: unknown key 'driver'"),
    ("secrets: {s: {name: '${X?say it}', file: f}}", "f.yml:1: required variable X is missing a value: say it"),
    ("secrets: {s: {file: f, name: 'a$'}}",
     "f.yml:1: invalid interpolation format: a $ that begins no variable is written $$"),
    # what is known when the files are one
    ("services: {w: {secrets: [s]}}", 'service w: undefined secret "s"'),
    ("services: {w: {configs: [s]}}\nsecrets: {s: {external: true}}", 'service w: undefined config "s"'),
    ("secrets: {s: {}}", "f.yml:1: secret s has no value: give it a file or environment, or external: true"),
    ("secrets: {s: {external: true, file: f}}",
     "f.yml:1: secret s is external: it is there already, and can be given a name only"),
    ("services: {w: {secrets: [a, {source: b, target: a/b}]}}\nsecrets: {a: {external: true}, b: {external: true}}",
     "service w: secret references 'a' and 'b' have a conflicting target: 'a/b' is below 'a'"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "reason"), REFUSED)
def test_what_is_wrong_is_refused_with_its_line(source: str, reason: str) -> None:
    with pytest.raises(ComposeError) as refused:
        check(file(source))
    assert str(refused.value) == reason


def test_an_unknown_key_is_told_what_is_allowed() -> None:
    with pytest.raises(ComposeError) as refused:
        file("services: {w: {secrets: [{source: s, mod: 0400}]}}")
    assert refused.value.__notes__ == ["allowed are gid, mode, source, target, uid and x-..."]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("secrets: {s: {file: f, name: 'a b'}}", "f.yml:1: secret a b: invalid name, only 64"),
        (f"secrets: {{{'s' * 62}: {{file: f}}}}", f"f.yml:1: secret st_{'s' * 62}: invalid name, only 64"),
        ("services: {w.x: {}}", "f.yml:1: service st_w.x: name must be valid as a DNS name component"),
        (f"services: {{{'s' * 61}: {{}}}}", f"f.yml:1: service st_{'s' * 61}: name must be 63 characters or fewer"),
        ("secrets: {a: {file: f, name: N}, b: {file: g, name: n}}", "secrets a and b have one name: n"),
        ("services: {w: {deploy: 7}}", "f.yml:1: deploy must be a mapping"),
        ("services: {w: {deploy: {mode: all}}}", "f.yml:1: unknown mode: all"),
        (
            "services: {w: {deploy: {mode: global, replicas: 2}}}",
            "f.yml:1: replicas can only be used with replicated or replicated-job mode",
        ),
        ("services: {w: {deploy: {replicas: many}}}", "f.yml:1: deploy.replicas must be a number"),
        ("services: {w: {image: []}}", "f.yml:1: image must be a string"),
        ("services: {w: {labels: x}}", "f.yml:1: labels must be a mapping or a list"),
    ],
)
def test_what_cannot_be_a_stack_is_refused(source: str, reason: str) -> None:
    with pytest.raises(ComposeError) as refused:
        stack(source)
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 64, "a/b"])
def test_the_name_of_a_stack_is_a_dns_label(name: str) -> None:
    with pytest.raises(InvalidNameError):
        build(file("services: {}"), name)


def test_names_are_scoped_as_docker_does_it() -> None:
    made = stack(
        "services: {w: {secrets: [a, b, c, d], configs: [a]}}\n"
        "secrets: {a: {file: a, labels: {k: v}}, b: {file: b, name: own}, c: {external: true}, "
        "d: {external: true, name: e}}\n"
        "configs: {a: {content: x}}"
    )
    assert [(each.kind.value, each.name, dict(each.labels)) for each in made.objects] == [
        ("secret", "st_a", {"k": "v", NAMESPACE: "st"}),
        ("secret", "own", {NAMESPACE: "st"}),
        ("config", "st_a", {NAMESPACE: "st"}),
    ]
    assert [(each.kind.value, each.source, each.target) for each in made.services[0].grants] == [
        ("secret", "st_a", "a"), ("secret", "own", "b"), ("secret", "c", "c"), ("secret", "e", "d"),
        ("config", "st_a", "a"),
    ]  # fmt: skip
    assert made.external == {(Kind.SECRET, "c"), (Kind.SECRET, "e")}


def test_a_service_keeps_what_describes_it_and_no_environment() -> None:
    made = stack(
        "services:\n  w:\n    image: redis\n    user: '7:8'\n    hostname: h\n    labels: [a=b, c]\n"
        "    environment: {PASSWORD: p}\n    ports: ['1:1']\n    x-note: n\n"
        "    deploy: {replicas: 3, labels: {d: 1}}"
    )
    assert made.services[0].spec == {
        "Name": "st_w",
        "Labels": {"d": "1", NAMESPACE: "st", "com.docker.stack.image": "redis"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Labels": {"a": "b", "c": "", NAMESPACE: "st"},
                "Image": "redis",
                "Hostname": "h",
                "User": "7:8",
            }
        },
        "Mode": {"Replicated": {"Replicas": 3}},
    }
    assert unused(file("services: {w: {image: a, ports: [], x-a: b, environment: {}}}").services["w"].fields) == [
        "ports", "environment",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("deploy", "mode"),
    [
        ("{}", {"Replicated": {"Replicas": 1}}),
        ("~", {"Replicated": {"Replicas": 1}}),
        ("{replicas: 0}", {"Replicated": {"Replicas": 0}}),
        ("{mode: replicated, replicas: '2'}", {"Replicated": {"Replicas": 2}}),
        ("{mode: global}", {"Global": {}}),
        ("{mode: global-job}", {"GlobalJob": {}}),
        ("{mode: replicated-job}", {"ReplicatedJob": {}}),
        ("{mode: replicated-job, replicas: 3}", {"ReplicatedJob": {"MaxConcurrent": 3, "TotalCompletions": 3}}),
    ],
)
def test_the_mode_is_docker_s(deploy: str, mode: object) -> None:
    assert stack(f"services: {{w: {{deploy: {deploy}}}}}").services[0].spec["Mode"] == mode


def test_a_later_file_wins_and_what_it_does_not_say_stays() -> None:
    both = file(
        "services: {w: {image: a, command: [x, y], ports: ['1'], deploy: {replicas: 1, labels: {a: 1}},"
        " secrets: [s, {source: t, target: t1}, {source: t, target: t2}]}, v: {image: v}}\n"
        "secrets: {s: {file: s, labels: {a: 1}}, t: {external: true, name: n}}",
        "services: {w: {image: b, command: [z], ports: ['2'], secrets: [{source: s, mode: 0400}],"
        " deploy: {labels: {b: 2}}}, u: {image: u}}\n"
        "secrets: {s: {name: m, labels: {b: 2}}, t: {file: t}}",
    )
    assert [(each.source, each.target, each.mode) for each in both.services["w"].grants[Kind.SECRET]] == [
        ("t", "t1", 0o444), ("t", "t2", 0o444), ("s", "s", 0o400),
    ]  # fmt: skip
    secret, replaced = both.definitions[Kind.SECRET]["s"], both.definitions[Kind.SECRET]["t"]
    assert (secret.source, secret.name, secret.labels) == (FileSource("/d/s"), "m", {"a": "1", "b": "2"})
    assert (replaced.source, replaced.name, replaced.external) == (FileSource("/d/t"), "", None)
    text = emitted(both)
    for part in ("image: b", "'1'", "'2'", "replicas: 1", "a: 1", "b: 2"):
        assert part in text
    assert list(both.services) == ["w", "v", "u"]


def without_places(found: ComposeFile) -> object:
    definitions = [
        [(each.kind, each.key, each.source, bool(each.external), each.name, dict(each.labels), each.driver,
          dict(each.driver_options), each.template_driver) for each in found.definitions[kind].values()]
        for kind in Kind
    ]  # fmt: skip
    return definitions, [(each.key, each.grants, list(each.fields)) for each in found.services.values()]


TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("$\n\t\r\x01\x1b\x7f\x85\u2028\ufeff"),
    min_size=1,
    max_size=20,
)
KEYS = st.text("abc", min_size=1, max_size=5)


@settings(max_examples=200, deadline=2000)
@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=3), KEYS, st.sampled_from([0, 0o440, 0o444, 0o4755]))
def test_what_is_printed_says_the_same_when_it_is_read(
    text: str, name: str, labels: dict[str, str], key: str, mode: int
) -> None:
    found = file(
        f"services: {{{key}: {{image: x, secrets: [{{source: {key}, mode: 0{mode:o}, uid: me}}]}}}}\n"
        f"secrets: {{{key}: {{file: f}}}}\nconfigs: {{{key}: {{content: c}}}}\nx-a: [1, '1', ~, {{}}]"
    )
    for kind, source in ((Kind.SECRET, VariableSource(name)), (Kind.CONFIG, TextSource(text))):
        each = found.definitions[kind][key]
        object.__setattr__(each, "source", source)
        object.__setattr__(each, "labels", labels)
    again = file(emitted(found))
    assert without_places(again) == without_places(found)
    assert emitted(again) == emitted(found)


LINES = (
    "services:\n", "  w:\n", "    secrets:\n", "      - s\n", "      - source: s\n", "        mode: 0440\n",
    "        uid: x\n", "        target: a/b\n", "secrets:\n", "  s:\n", "    file: f\n", "    external: true\n",
    "    name: $N\n", "configs:\n", "    labels: [a]\n", "    content: c\n", "    deploy: {replicas: 1}\n",
    "    <<: {file: g}\n", "x-a: 1\n", "    image: i\n",
)  # fmt: skip


@pytest.mark.parametrize(
    "text", ["----co", "- ", "...", "-1", "~", "a: b", "%x", "? k", "null", "0440", "=", "<<", "*a", "é"]
)
def test_any_bare_text_is_printed_so_that_it_is_read(text: str) -> None:
    found = ComposeFile({}, {kind: {} for kind in Kind}, {"x-a": Scalar(Place("f", 1), text)})
    again = file(emitted(found)).fields["x-a"]
    assert isinstance(again, Scalar)
    assert again.text == text


DOCUMENTS = st.lists(st.sampled_from(LINES), max_size=25).map("".join)


@settings(max_examples=500, deadline=2000)
@given(st.lists(DOCUMENTS | st.text(max_size=100), min_size=1, max_size=3))
def test_any_files_are_a_stack_or_refused(sources: list[str]) -> None:
    try:
        found = file(*sources, N="n")
        made = build(found, "st")
    except ComposeError:
        return
    assert {each.key for each in made.services} == set(found.services)
    assert without_places(file(emitted(found))) == without_places(found)
