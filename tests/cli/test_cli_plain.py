"""Command lines of ``run`` that are read without argparse are read as argparse reads them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretfs.cli.main import _parser
from secretfs.cli.plain import run_arguments
from secretfs.errors import UsageError

SPECIAL = ["run", "--", "-", "-x", "--help", "-h", "leader", "unix:///x", "true"]
FLAGS = ["-H", "--host", "--host=x", "--service", "--secret", "--config", "--target-dir", "--user", "--until"]
SWITCHES = ["--file-vars", "--allow-new-privileges", "--secret=a"]
WORDS = st.sampled_from([*SPECIAL, *FLAGS, *SWITCHES])


def by_argparse(words: list[str]) -> dict[str, object]:
    found = vars(_parser(words).parse_args(words))
    del found["handler"]
    return found


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--", "true"],
        ["-H", "unix:///x", "run", "--secret", "a", "--secret", "b", "--config", "c", "--", "cat", "--", "-x"],
        ["run", "--service", "web", "--user", "0:0", "--target-dir", "/x", "--file-vars", "--", "env"],
        ["run", "--allow-new-privileges", "--host", "unix:///x", "--", "sh", "-c", "true"],
    ],
)
def test_what_is_typed_most_is_plain(words):
    found = run_arguments(words)
    assert found is not None
    assert vars(found) == by_argparse(words)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=4), st.lists(WORDS, max_size=2))
def test_what_is_plain_is_what_argparse_reads(before, between, after):
    for words in (
        [*before, *between, *after],
        ["run", *between, "--", *after],
        ["-H", "x", "run", *between, "--", *after],
    ):
        found = run_arguments(words)
        if found is not None:
            assert vars(found) == by_argparse(words)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["ps"],
        ["run"],
        ["run", "true"],
        ["run", "--"],
        ["run", "--secret", "--", "true"],
        ["run", "--secret=a", "--", "true"],
        ["run", "--until", "leader", "--", "true"],
        ["run", "--unknown", "x", "--", "true"],
        ["run", "--help", "--", "true"],
        ["-H"],
    ],
)
def test_all_else_is_left_to_argparse(words):
    assert run_arguments(words) is None


def test_a_wrong_value_of_a_plain_line_is_told_as_any_other(capsys):
    from secretfs.cli.main import main

    assert main(["run", "--secret", "a,b", "--", "true"]) == 2
    plain = capsys.readouterr().err
    assert main(["run", "--secret=a,b", "--", "true"]) == 2
    assert capsys.readouterr().err == plain
    with pytest.raises(UsageError):
        by_argparse(["run", "--secret"])
