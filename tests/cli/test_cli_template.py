"""Templates: what the docker command line prints for each, and every refusal."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.cli.listing import Columns
from secretfs.cli.objects import COLUMNS
from secretfs.cli.template import listed, parsed, rendered
from secretfs.cli.template_functions import FUNCTIONS
from secretfs.errors import InvalidArgumentError

# Made with docker 28.2.2: `docker secret ls --format FORM` against a server with these two secrets.
VECTORS = json.loads((Path(__file__).parent / "vectors" / "templates.json").read_text())
ROWS = [
    COLUMNS["secret"].row(
        {"ID": letter * 25, "Name": name, "Driver": "", "CreatedAt": created, "UpdatedAt": "2 years ago"}, labels
    )
    for letter, name, created, labels in (
        ("a", "my_secret", "2 years ago", {"a": "b", "c": ""}),
        ("b", "p10", "3 hours ago", {}),
    )
]
FORMS = [vector["form"] for vector in VECTORS]


GO = "template parsing error: template: :"


def said(render: Callable[[], str]) -> str:
    """What a refusal says; for what is rendered no more than how a refusal begins."""
    try:
        render()
    except InvalidArgumentError as refused:
        return str(refused)
    return GO


def inspected(form: str, value: object) -> str:
    return rendered(parsed(form), value)


def refusal(form: str, value: object = None) -> str:
    with pytest.raises(InvalidArgumentError) as refused:
        inspected(form, value)
    return str(refused.value).removeprefix("template parsing error: template: ")


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "out" in vector], ids=lambda v: v["form"])
def test_template_prints_what_docker_prints(vector: dict[str, str]) -> None:
    assert listed(vector["form"], ROWS, COLUMNS["secret"].headers) == vector["out"]


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "error" in vector], ids=lambda v: v["form"])
def test_template_is_refused_in_dockers_words(vector: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        listed(vector["form"], ROWS, COLUMNS["secret"].headers)
    assert str(refused.value) == vector["error"]


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        ("{{.}}", {"b": [1, None, "x"], "a": {"c": 1.5}}, "map[a:map[c:1.5] b:[1 <nil> x]]"),
        ("{{.a}} {{.b}} {{.c}}", {"a": None, "b": True, "c": 1e21}, "<no value> true 1e+21"),
        ("{{.Labels.x}}|{{index .Labels `x`}}|{{.Labels.y}}", {"Labels": {"y": "z"}}, "<no value>||z"),
        ("{{index . 1 `a`}}", [0, {"a": "b"}], "b"),
        ("{{range $i, $v := .}}{{$i}}{{$v}}{{end}}", ["a", "b"], "0a1b"),
        ("{{range .}}{{else}}none{{end}}", [], "none"),
        ("{{range .x}}{{else}}none{{end}}", {"x": None}, "none"),
        ("{{range $k, $v := .}}{{$k}}={{$v}} {{end}}", {"b": 1, "a": 2}, "a=2 b=1 "),
        ("{{json .}}", {"b": "<é>", "a": [1, True, None]}, '{"b":"<é>","a":[1,true,null]}'),
        ("{{len .a}} {{len .b}}", {"a": [1], "b": {"x": 1}}, "1 1"),
        ("{{slice .a 1}} {{slice .a 0 1}}", {"a": [1, 2]}, "[2] [1]"),
        ('{{printf "%v %t %x %5.2f|" .a true "hi" 1.5}}', {"a": [1]}, "[1] true 6869  1.50|"),
        ('{{printf "100%%"}}{{printf "%"}}{{printf "%s" nil}}', None, "100%%!(NOVERB)%!s(<nil>)"),
        ("{{eq .a nil}} {{ne .b 1}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 1 2}}", {"a": None, "b": 1}, None),
        ('{{printf "%9999999d" 3}}', None, "%!(BADWIDTH)3"),
        ('{{join .a ","}}', {"a": ["x", "y"]}, "x,y"),
        ('{{if eq .a "x" "y"}}1{{end}}{{with .b}}2{{else}}3{{end}}', {"a": "y", "b": 0}, "13"),
        ("{{range .}}{{if eq . 2}}{{continue}}{{end}}{{if eq . 4}}{{break}}{{end}}{{.}}{{end}}", [1, 2, 3, 4, 5], "13"),
        ("{{(index . 0).a}}", [{"a": 7}], "7"),
        ("{{$.a}}{{with .b}}{{$.a}}{{.}}{{end}}", {"a": 1, "b": 2}, "112"),
    ],
)
def test_template_over_json_prints_as_go(form: str, value: object, text: str | None) -> None:
    assert inspected(form, value) == (text if text is not None else "true false true true false false")


@pytest.mark.parametrize(
    ("form", "value", "message"),
    [
        ("{{.a.b}}", {"a": "x"}, ':1:4: executing "" at <.a.b>: can\'t evaluate field b in type interface {}'),
        ("{{.a.b}}", {"a": None}, ':1:4: executing "" at <.a.b>: nil pointer evaluating interface {}.b'),
        ("x\n{{.b}}", {}, ':2:2: executing "" at <.b>: map has no entry for key "b"'),
        ("é{{.b}}", {}, ':1:4: executing "" at <.b>: map has no entry for key "b"'),
        ("{{.a 1}}", {"a": 1}, ':1:2: executing "" at <.a>: a is not a method but has arguments'),
        (
            "{{index . `a`}}",
            3,
            ':1:2: executing "" at <index . `a`>: error calling index: can\'t index item of type int',
        ),
        ("{{index . `a`}}", [1], None),
        ("{{slice . 0}}", {}, None),
        ("{{slice . 0 1 2}}", [1], None),
        ("{{slice . 2 1}}", [1, 2, 3], None),
        ("{{len .}}", None, None),
        ("{{join . 3}}", ["a"], None),
        ("{{eq . .}}", [1], ':1:2: executing "" at <eq . .>: error calling eq: non-comparable type'),
        (
            "{{lt true false}}",
            None,
            ':1:2: executing "" at <lt true false>: error calling lt: invalid type for comparison',
        ),
        ("{{'ab", None, ":1: unterminated character constant"),
        ("{{`a", None, ":1: unterminated raw quoted string"),
        ("{{template `x`}}", None, ":1: {{template}} is not supported"),
        ('{{"\\ud800"}}', None, ":1: invalid syntax"),
        ("{{" + "(" * 41 + "1" + ")" * 41 + "}}", None, ":1: nested more than 40 deep"),
        ("{{if 1}}" * 41 + "{{end}}" * 41, None, ":1: nested more than 40 deep"),
        ("{{upper 3}}", None, ':1:2: executing "" at <upper 3>: error calling upper: expected string; found int'),
        ("{{truncate `a` true}}", None, None),
        (
            "{{pad `a` 1 9999999}}",
            None,
            ':1:2: executing "" at <pad `a` 1 9999999>: error calling pad: wider than 1000000',
        ),
        ("{{@}}", None, ":1: unrecognized character in action: U+0040 '@'"),
        ("{{/* a */ x}}", None, ":1: unclosed comment"),
    ],
)
def test_template_over_json_is_refused(form: str, value: object, message: str | None) -> None:
    shown = refusal(form, value)
    assert shown == message if message else "error calling" in shown


def test_label_of_a_listing_that_has_none_is_an_unknown_field() -> None:
    columns = Columns("*x.y", {"ID": "ID"}, ("ID",))
    with pytest.raises(InvalidArgumentError, match=r"can't evaluate field Label in type \*x\.y"):
        listed('{{.Label "a"}}', [columns.row({"ID": "1"})], columns.headers)


def test_empty_listing_by_a_table_template_is_its_header() -> None:
    assert listed("table {{.ID}}\\t{{.Name}}", [], COLUMNS["secret"].headers) == "ID        NAME\n"


@given(st.sampled_from(FORMS), st.data())
def test_damaged_template_is_rendered_or_refused_and_nothing_else(form: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(form)))
    piece = data.draw(
        st.sampled_from(["", "{{", "}}", '"', "(", ")", "|", ".", "$x", " ", "end", "{{end}}", "é", "nil"])
    )
    cut = data.draw(st.integers(0, 3))
    damaged = form[:at] + piece + form[at + cut :]
    assert said(lambda: listed(damaged, ROWS, COLUMNS["secret"].headers)).startswith(GO)


_WORDS = ["{{", "}}", "{{-", ".", ".ID", ".Label", "$x", ":=", "=", "|", "(", ")", ",", "3", "1.5", "nil", "true"]
_WORDS += ["if", "else", "end", "range", "with", "break", "text", "/*", "*/", '"a"', '"\\n"', "'a"]
_TOKENS = st.sampled_from([*_WORDS, " ", "\n", " -}}", *FUNCTIONS])


@given(st.lists(_TOKENS, max_size=14).map("".join))
def test_any_tokens_are_rendered_or_refused_and_nothing_else(form: str) -> None:
    assert said(lambda: listed(form, ROWS, COLUMNS["secret"].headers)).startswith(GO)


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_is_itself(text: str) -> None:
    assert inspected(text, None) == text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_where_the_error_is_can_be_said_of_bytes_that_are_no_text() -> None:
    assert "1:3:" in said(lambda: inspected("\udcff{{upper 1 2}}", None))


@given(_JSON)
def test_json_of_a_value_reads_back_as_the_value(value: object) -> None:
    assert json.loads(inspected("{{json .}}", value)) == value


@given(_JSON, st.sampled_from(sorted(FUNCTIONS)), st.lists(_JSON, max_size=2))
def test_function_of_any_values_prints_or_is_refused(value: object, name: str, others: list[object]) -> None:
    arguments = " ".join(f"(index $ {at})" for at in range(1 + len(others)))
    form = f"{{{{{name} {arguments}}}}}"
    assert said(lambda: inspected(form, [value, *others])).startswith(GO)
