"""The small parts: filters, labels, times, tables, the order of words."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.cli import answers, filters, output, times
from secretfs.cli.labels import parse_labels
from secretfs.cli.listing import Columns, Row, by_name, show
from secretfs.cli.parser import CommandParser
from secretfs.errors import UsageError

KEYS = st.text("abcXYZ-_. ", min_size=1, max_size=5)


@given(st.lists(st.tuples(KEYS, st.text(max_size=8))))
def test_filters_are_sent_as_docker_sends_them(pairs: list[tuple[str, str]]) -> None:
    query = filters.query([f"{key}={value}" for key, value in pairs])
    sent = json.loads(query.get("filters", "{}"))
    assert {(key, value) for key, values in sent.items() for value in values} == {
        (key.strip().lower(), value.strip()) for key, value in pairs
    }
    assert all(value is True for values in sent.values() for value in values.values())


def test_no_filters_are_no_query() -> None:
    assert filters.query([]) == {}


@given(st.text().filter(lambda text: "=" not in text))
def test_filter_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        filters.query([text])
    assert str(refused.value) == (
        f'invalid argument "{text}" for "-f, --filter" flag: bad format of filter (expected name=value)'
    )


def test_last_of_one_label_counts_and_a_value_may_be_empty() -> None:
    assert parse_labels(["a=1", "b", "a=2=3", "c="], flag="--label") == {"a": "2=3", "b": "", "c": ""}


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("", "invalid label '': empty name"),
        ("=b", "invalid label '=b': empty name"),
        (" =b", "invalid label ' =b': empty name"),
        ("a b=c", "label 'a b' contains whitespaces"),
        ("a\t=c", "label 'a\t' contains whitespaces"),
    ],
)
def test_label_without_a_proper_key_is_refused(label: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_labels([label], flag="--label")
    assert str(refused.value) == f'invalid argument "{label}" for "--label" flag: {reason}'


@given(st.datetimes(timezones=st.just(UTC)))
def test_time_is_that_of_the_standard_library(time: datetime) -> None:
    expected = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert times.nanoseconds(time.isoformat().replace("+00:00", "Z")) == expected


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1970-01-01T00:00:01.000000001Z", 1_000_000_001),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00-00:30", 1_800_000_000_000),
        ("", None),
        ("1970-01-01", None),
        ("1970-01-01T00:00:00", None),
        ("1970-01-01T00:00:00.0000000001Z", None),
    ],
)
def test_time_has_nanoseconds_and_an_offset(stamp: str, expected: int | None) -> None:
    assert times.nanoseconds(stamp) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400 - 3600, "13 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_duration_is_in_dockers_words(seconds: int, text: str) -> None:
    assert times.duration(seconds) == text


def test_what_is_no_time_shows_as_nothing_or_as_it_is() -> None:
    assert times.ago("soon", 0) == ""
    assert times.spelled("soon") == "soon"
    assert times.spelled("2026-11-23T18:28:49+01:00") == "2026-11-23T18:28:49+01:00"
    assert times.spelled("2026-11-23T18:28:49.1Z") == "2026-11-23 18:28:49.1 +0000 utc"


def test_table_is_dockers() -> None:
    rows = [("ID", "NAME", "X"), ("1" * 8, "", "long, and last"), ("1", "a_longer_name", "")]
    assert output.laid_out(rows) == (
        "ID         NAME            X\n11111111                   long, and last\n1          a_longer_name   \n"
    )
    assert output.laid_out([]) == ""
    assert output.laid_out([()]) == "\n"


@given(st.lists(st.from_regex(r"[a-z]{0,2}[0-9]{0,3}", fullmatch=True)))
def test_natural_order_counts(names: list[str]) -> None:
    assert sorted(["p10", "p2", "p1", "P2", "2"], key=by_name) == ["2", "P2", "p1", "p2", "p10"]
    assert [int(name) for name in sorted(filter(str.isdigit, names), key=by_name)] == sorted(
        int(name) for name in names if name.isdigit()
    )


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, {"a": 3}, {"a": [{"b": 1}]}])
def test_missing_part_of_an_answer_is_nothing(value: object) -> None:
    assert (answers.text(value, "a", "b"), answers.number(value, "a", "b")) == ("", 0)
    assert (answers.items(value, "a", "b"), answers.labels(value, "a", "b")) == ([], {})


def parser() -> CommandParser:
    made = CommandParser(prog="x")
    made.add_argument("-q", "--quiet", action="store_true")
    made.add_argument("-l", "--label", action="append", default=[])
    made.add_argument("names", nargs="*")
    return made


@pytest.mark.parametrize(
    ("words", "quiet", "labels", "names"),
    [
        ("a -q b", True, [], ["a", "b"]),
        ("a -l x b --label=y c --label z", False, ["x", "y", "z"], ["a", "b", "c"]),
        ("-ql x a", True, ["x"], ["a"]),
        ("-lx -l=y -l -q", False, ["x", "y", "-q"], []),
        ("--label --quiet a", False, ["--quiet"], ["a"]),
        ("-- -q a", False, [], ["-q", "a"]),
        ("a - b", False, [], ["a", "-", "b"]),
        ("--label=", False, [""], []),
        ("--quiet=true a", True, [], ["a"]),
        ("-q=1 a", True, [], ["a"]),
        ("--quiet=false -q=F", False, [], []),
        ("--quiet=false -q", True, [], []),
    ],
)
def test_flags_stand_anywhere(words: str, quiet: bool, labels: list[str], names: list[str]) -> None:
    parsed = parser().parse_args(words.split())
    assert (parsed.quiet, parsed.label, parsed.names) == (quiet, labels, names)


@given(st.lists(st.tuples(st.sampled_from(["-l", "--label", "-l=", "--label=", "name"]), st.text(min_size=1))))
def test_every_value_and_operand_arrives_in_order(pieces: list[tuple[str, str]]) -> None:
    words: list[str] = []
    for flag, text in pieces:
        if flag == "name":
            words.append(f"n{text}")
        else:
            words += [flag + text] if flag.endswith("=") else [flag, text]
    parsed = parser().parse_args(words)
    assert parsed.label == [text for flag, text in pieces if flag != "name"]
    assert parsed.names == [f"n{text}" for flag, text in pieces if flag == "name"]


# -- what somebody chose, at a terminal ------------------------------------------------------------------------------

ATTACK = "\x1b[2J\x1b]0;pwn\x07\r\nfake\u202e\x9b"
SHOWN = r"\x1b[2J\x1b]0;pwn\x07\r\nfake\u202e\x9b"
AT_TERMINAL = SHOWN.replace(r"\n", "\n")
COLUMNS = Columns("listing", {"ID": "ID", "Labels": "LABELS"}, ["ID", "Labels"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def row(value: str) -> Row:
    return COLUMNS.row({"ID": "1"}, {"a": value})


def test_a_table_shows_control_characters_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    show([row(ATTACK)], COLUMNS, form=None, quiet=False)
    assert capsys.readouterr().out == f"ID        LABELS\n1         a={SHOWN}\n"


@pytest.mark.parametrize("form", [r"table {{.ID}}\t{{.Labels}}", r'table {{.ID}}\t{{.Label "a"}}'])
def test_a_template_of_a_table_shows_control_characters_as_escapes(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    show([row(ATTACK)], COLUMNS, form=form, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith(SHOWN)


def test_a_template_gives_a_pipe_the_bytes_and_a_terminal_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, text in ((io.StringIO(), ATTACK), (Terminal(), AT_TERMINAL)):
        monkeypatch.setattr("sys.stdout", stream)
        show([row(ATTACK)], COLUMNS, form="{{.Labels}}", quiet=False)
        assert stream.getvalue() == f"a={text}\n"


def test_json_is_the_same_and_shows_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    output.document([ATTACK])
    output.line(output.compact([ATTACK]))
    out = capsys.readouterr().out
    assert set(ATTACK) & set(out) == set(ATTACK) & set('[]\n";0 2Jpwnfake')
    document, _, compact = out.rstrip().rpartition("\n")
    assert json.loads(document) == json.loads(compact) == [ATTACK]


def test_a_message_is_one_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.error(ATTACK, [ATTACK])
    output.warning(ATTACK)
    assert capsys.readouterr().err == (
        f"secretfs: error: {SHOWN}\nsecretfs: hint: {SHOWN}\nsecretfs: warning: {SHOWN}\n"
    )
