import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.core.grant import (
    Grant,
    GrantRequest,
    Target,
    TargetSet,
    check_attachable,
    check_conflicts,
    check_duplicates,
    check_mode,
    parse_grant,
    parse_target,
)
from secretfs.core.grant_syntax import parse_owner_number
from secretfs.core.names import Kind, ObjectId, ObjectName
from secretfs.errors import InvalidGrantError

S, C = Kind.SECRET, Kind.CONFIG


def grant(target: str, name: str = "a", kind: Kind = S) -> Grant:
    return Grant(kind, ObjectId(name * 25), ObjectName(name), Target(target))


# --- the syntax of --secret ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("pw", GrantRequest(S, "pw", "pw")),
        ("source=pw", GrantRequest(S, "pw", "pw")),
        ("src=pw,target=x/y", GrantRequest(S, "pw", "x/y")),
        ("SRC=pw,Target=x,UID=1,gId=2,MODE=0400", GrantRequest(S, "pw", "x", "1", "2", 0o400)),
        ("source=pw,uid=redis,gid=redis", GrantRequest(S, "pw", "pw", "redis", "redis")),
        ("source=pw,mode=0o440", GrantRequest(S, "pw", "pw", mode=0o440)),
        ("source=pw,mode=0O440", GrantRequest(S, "pw", "pw", mode=0o440)),
        ("source=pw,mode=0", GrantRequest(S, "pw", "pw", mode=0)),
        ("source=pw,mode=04755", GrantRequest(S, "pw", "pw", mode=0o4755)),
        ("source=pw,version=3", GrantRequest(S, "pw", "pw", version=3)),
        ("source=pw,target=", GrantRequest(S, "pw", "pw")),
        ("source=a,source=b", GrantRequest(S, "b", "b")),
        ('source=pw,"target=a,b"', GrantRequest(S, "pw", "a,b")),
        ("source=pw,target=a=b", GrantRequest(S, "pw", "a=b")),
        ("source=pw,uid=4294967294", GrantRequest(S, "pw", "pw", "4294967294")),
    ],
)
def test_grant_is_read(text: str, request_: GrantRequest) -> None:
    assert parse_grant(text, S) == request_


SYNTAX = 'invalid mode specified: strconv.ParseUint: parsing "{}": invalid syntax'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "EOF"),
        ('""', "source is required"),
        ("target=x", "source is required"),
        ("source=", "source is required"),
        ("pw,target=x", "invalid field 'pw' must be a key=value pair"),
        ("source=pw,", "invalid field '' must be a key=value pair"),
        ("=pw", "invalid field '=pw' must be a key=value pair"),
        ("source=pw,K=1", "invalid field in secret request: K"),
        ("source=pw,mode=0999", SYNTAX.format("0999")),
        ("source=pw,mode=", SYNTAX.format("")),
        ("source=pw,mode=rw", SYNTAX.format("rw")),
        ("source=pw,mode=-0444", SYNTAX.format("-0444")),
        ("source=pw,mode=0444 ", SYNTAX.format("0444 ")),
        ("source=pw,mode=0٤٤٤", SYNTAX.format("0٤٤٤")),
        (
            "source=pw,mode=0777777777777",
            'invalid mode specified: strconv.ParseUint: parsing "0777777777777": value out of range',
        ),
        (
            "source=pw,mode=440",
            "invalid mode specified: '440' has no leading 0: write 0440 for octal (docker reads it as 0670)",
        ),
        (
            "source=pw,mode=288",
            "invalid mode specified: '288' is not octal: write it with a leading 0 (docker reads it as 0440)",
        ),
        (
            "source=pw,mode=0x120",
            "invalid mode specified: '0x120' is not octal: write it with a leading 0 (docker reads it as 0440)",
        ),
        ("source=pw,mode=" + "9" * 5000, SYNTAX.format("9" * 5000)),
        ("source=pw,uid=", "invalid uid specified: it is empty"),
        ("source=pw,gid=", "invalid gid specified: it is empty"),
        ("source=pw,uid=-1", "invalid uid or gid specified: '-1' is not in 0..4294967294"),
        ("source=pw,uid=4294967295", "invalid uid or gid specified: '4294967295' is not in 0..4294967294"),
        ("source=pw,uid=" + "9" * 5000, f"invalid uid or gid specified: '{'9' * 5000}' is not in 0..4294967294"),
        ("source=pw,version=0", "invalid version specified: '0' is not a version number"),
        ("source=pw,version=x", "invalid version specified: 'x' is not a version number"),
        ('source="pw"', 'parse error on line 1, column 8: bare " in non-quoted field'),
    ],
)
def test_grant_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidGrantError) as caught:
        parse_grant(text, S)
    assert str(caught.value) == message


def test_unknown_key_of_a_config_says_config() -> None:
    with pytest.raises(InvalidGrantError) as caught:
        parse_grant("source=c,k=v", C)
    assert str(caught.value) == "invalid field in config request: k"


@given(
    st.text(st.sampled_from('abs=,"mode0128xuidtargetversion \n'), max_size=60) | st.text(max_size=60),
    st.sampled_from(Kind),
)
def test_any_text_is_a_request_or_a_refusal(text: str, kind: Kind) -> None:
    try:
        request = parse_grant(text, kind)
    except InvalidGrantError:
        return
    assert request.kind is kind
    assert request.source
    assert request.target


@given(st.integers(0, 0o7777))
def test_octal_mode_is_what_it_says(mode: int) -> None:
    assert parse_grant(f"source=a,mode=0{mode:o}", S).mode == mode
    assert parse_grant(f"source=a,mode=0o{mode:o}", S).mode == mode


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("1000", 1000), ("root", None), ("r2", None)])
def test_owner_is_a_number_or_a_name(text: str, number: int | None) -> None:
    assert parse_owner_number(text) == number


@pytest.mark.parametrize("mode", [-1, 2**32])
def test_mode_that_no_docker_client_can_send_is_refused(mode: int) -> None:
    with pytest.raises(InvalidGrantError) as caught:
        check_mode(mode)
    assert str(caught.value) == f"invalid mode specified: {mode} is not in 0..4294967295"
    assert check_mode(0o4755) == 0o4755


# --- targets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("x", "x"),
        ("a/b/c", "a/b/c"),
        ("/run/secrets/x", "x"),
        ("/run/secrets/a/b", "a/b"),
        ("/etc/hostname", "/etc/hostname"),
        ("/run/secretsx", "/run/secretsx"),
        ("...", "..."),
        (".hidden", ".hidden"),
        ("with blank", "with blank"),
        ("ü" * 127, "ü" * 127),
    ],
)
def test_target_is_read(text: str, target: str) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("../up", "invalid target '../up': '..' is not allowed"),
        ("a/../b", "invalid target 'a/../b': '..' is not allowed"),
        ("/etc/../x", "invalid target '/etc/../x': '..' is not allowed"),
        ("/run/secrets/../x", "invalid target '/run/secrets/../x': '..' is not allowed"),
        ("./x", "invalid target './x': '.' is not allowed"),
        (".", "invalid target '.': '.' is not allowed"),
        ("a//b", "invalid target 'a//b': a part of the path is empty"),
        ("a/", "invalid target 'a/': a part of the path is empty"),
        ("/", "invalid target '/': a part of the path is empty"),
        ("//etc/x", "invalid target '//etc/x': a part of the path is empty"),
        ("/run/secrets/", "invalid target '/run/secrets/': a part of the path is empty"),
        ("/run/secrets//etc/x", "invalid target '/run/secrets//etc/x': a part of the path is empty"),
        ("a\0b", "invalid target 'a\\x00b': it has a control character"),
        ("a\n", "invalid target 'a\\n': it has a control character"),
        ("\x1b[2J", "invalid target '\\x1b[2J': it has a control character"),
        ("d/\x7f/e", "invalid target 'd/\\x7f/e': it has a control character"),
        ("\x80", "invalid target '\\x80': it has a control character"),
        ("a\x9f", "invalid target 'a\\x9f': it has a control character"),
        ("\udc80", "invalid target '\\udc80': it is not UTF-8"),
        ("x" * 256, f"invalid target {'x' * 256!r}: a part is longer than 255 bytes"),
        ("ü" * 128, f"invalid target {'ü' * 128!r}: a part is longer than 255 bytes"),
        ("/".join(["x" * 250] * 5), "invalid target: longer than 1024 bytes"),
    ],
)
def test_target_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidGrantError) as caught:
        parse_target(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", Kind)
def test_empty_target_is_refused_with_docker_text(kind: Kind) -> None:
    with pytest.raises(InvalidGrantError) as caught:
        parse_target("", kind)
    assert str(caught.value) == (f"malformed file {kind.value} reference, invalid target file name provided")


@given(st.text(st.sampled_from("ab./\0é"), max_size=20))
def test_target_never_leaves_its_directory_and_reading_twice_changes_nothing(text: str) -> None:
    try:
        target = parse_target(text)
    except InvalidGrantError:
        return
    assert not {"", ".", ".."} & set(target.removeprefix("/").split("/"))
    assert parse_target(target) == target


def test_absolute_target_is_refused_when_a_task_attaches() -> None:
    with pytest.raises(InvalidGrantError) as caught:
        check_attachable([grant("x"), grant("/etc/x")])
    assert str(caught.value) == (
        "secret 'a' has the absolute target '/etc/x': a task can have targets below /run/secrets/ only"
    )
    check_attachable([grant("x"), grant("y/z")])


# --- conflicts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grants", "message"),
    [
        ([grant("t"), grant("t", "b")], "secret references 'a' and 'b' have a conflicting target: 't'"),
        ([grant("t"), grant("t")], "secret references 'a' and 'a' have a conflicting target: 't'"),
        (
            [grant("t", "a", C), grant("t", "b", C)],
            "config references 'a' and 'b' have a conflicting target: 't'",
        ),
        (
            [grant("t"), grant("t/x", "b")],
            "secret references 'a' and 'b' have a conflicting target: 't/x' is below 't'",
        ),
        (
            [grant("t/x/y"), grant("t", "b")],
            "secret references 'a' and 'b' have a conflicting target: 't/x/y' is below 't'",
        ),
        (
            [grant("/t/x"), grant("/t", "b")],
            "secret references 'a' and 'b' have a conflicting target: '/t/x' is below '/t'",
        ),
    ],
)
def test_conflicting_targets_are_refused(grants: list[Grant], message: str) -> None:
    with pytest.raises(InvalidGrantError) as caught:
        check_conflicts(grants)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "grants",
    [
        [grant("t"), grant("t", "b", C)],
        [grant("t"), grant("t", "b", C), grant("t.x")],
        [grant("t/a"), grant("t/b"), grant("tt")],
        [grant("a"), grant("b"), grant("/a")],
    ],
)
def test_other_targets_live_together(grants: list[Grant]) -> None:
    check_conflicts(grants)


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)


@given(st.lists(PATHS, max_size=12))
def test_a_target_is_taken_exactly_when_no_path_is_a_file_and_a_directory(paths: list[str]) -> None:
    taken, files = TargetSet(), list[str]()
    for path in paths:
        clashes = [f for f in files if f == path or f.startswith(path + "/") or path.startswith(f + "/")]
        conflict = taken.add(path)
        assert (conflict in clashes) if clashes else (conflict is None)
        if not clashes:
            files.append(path)


@pytest.mark.parametrize("kind", Kind)
def test_one_target_twice_in_a_command_is_refused_with_the_text_of_the_docker_cli(kind: Kind) -> None:
    with pytest.raises(InvalidGrantError) as caught:
        check_duplicates([GrantRequest(kind, "a", "t"), GrantRequest(kind, "b", "t")])
    assert str(caught.value) == f"duplicate {kind.value} target for b not allowed"
    check_duplicates([GrantRequest(S, "a", "t"), GrantRequest(C, "a", "t"), GrantRequest(S, "a", "u")])
