import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretfs.errors import AttachError
from secretfs.runtimes.variables import file_variables, variable_name


def file(name: str, target: str | None = None, kind: str = "secret") -> dict[str, str]:
    return {"Kind": kind, "Name": name, "Target": target or name}


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("my_secret", "MY_SECRET_FILE"),
        ("db.password-1", "DB_PASSWORD_1_FILE"),
        ("a/b", "A_B_FILE"),
        ("ß", "__FILE"),
        ("1", "1_FILE"),
    ],
)
def test_a_name_becomes_a_variable(name, variable):
    assert variable_name(name) == variable


@given(st.text(min_size=1))
def test_every_name_becomes_a_variable_that_a_shell_takes_after_a_letter(name):
    assert re.fullmatch(r"[A-Z0-9_]+_FILE", variable_name(name))
    assert len(variable_name(name)) == len(name) + len("_FILE")


def test_each_file_has_one():
    files = [file("a", "sub/a"), file("b"), file("c", kind="config")]
    assert file_variables(files, "/run/secrets") == {
        b"A_FILE": b"/run/secrets/sub/a",
        b"B_FILE": b"/run/secrets/b",
        b"C_FILE": b"/run/configs/c",
    }


def test_a_secret_granted_twice_is_called_by_its_targets():
    assert file_variables([file("a", "one"), file("a", "two"), file("b")], "/s") == {
        b"ONE_FILE": b"/s/one",
        b"TWO_FILE": b"/s/two",
        b"B_FILE": b"/s/b",
    }


def test_a_secret_and_a_config_of_one_name_and_target_are_refused():
    with pytest.raises(AttachError, match="the variable A_FILE would stand for both /s/x/a and /s/configs/a"):
        file_variables([file("a"), file("a", kind="config")], "/s/x")


def test_a_name_that_is_another_s_target_is_refused():
    with pytest.raises(AttachError) as caught:
        file_variables([file("a", "b"), file("a", "c"), file("b", "x")], "/s")
    assert str(caught.value) == "the variable B_FILE would stand for both /s/b and /s/x"
    assert caught.value.__notes__ == ["give one of them another target, or leave out --file-vars"]


def test_no_files_no_variables():
    assert file_variables([], "/run/secrets") == {}
