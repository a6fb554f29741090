import os
import pwd
import tempfile

import pytest

from secretfs.errors import AttachError, UsageError
from secretfs.runtimes.identity import MAX_ID, parse_user

DAEMON = pwd.getpwnam("daemon")


def parts(text: str) -> tuple[int, int]:
    who = parse_user(text)
    return who.uid, who.gid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root", (0, 0)),
        ("0", (0, 0)),
        ("daemon", (DAEMON.pw_uid, DAEMON.pw_gid)),
        (str(DAEMON.pw_uid), (DAEMON.pw_uid, DAEMON.pw_gid)),
        ("daemon:root", (DAEMON.pw_uid, 0)),
        ("daemon:4242", (DAEMON.pw_uid, 4242)),
        ("4000000:4000001", (4000000, 4000001)),
        ("4000000:root", (4000000, 0)),
        (f"{MAX_ID}:{MAX_ID}", (MAX_ID, MAX_ID)),
    ],
)
def test_a_user_is_resolved(text, expected):
    assert parts(text) == expected


@pytest.mark.parametrize("text", ["daemon", "daemon:4242", str(DAEMON.pw_uid)])
def test_a_known_user_has_the_groups_of_the_host(text):
    who = parse_user(text)
    assert sorted(who.groups) == sorted(os.getgrouplist("daemon", who.gid))


def test_an_unknown_number_has_its_group_only():
    assert parse_user("4000000:4000001").groups == [4000001]


@pytest.mark.parametrize("text", ["", ":", ":root", "root:", "root:root:root", "::"])
def test_what_is_no_user_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_user(text)
    assert str(caught.value) == f"invalid user {text!r}"
    assert caught.value.__notes__ == ["give a name or uid, and after a colon a group: --user redis, --user 103:103"]


@pytest.mark.parametrize("number", [str(MAX_ID + 1), "9" * 5000])
def test_a_number_that_no_user_has_is_refused(number):
    for text in (number, f"root:{number}"):
        with pytest.raises(UsageError, match=f"is not in 0..{MAX_ID}$"):
            parse_user(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch", "user 'nosuch' not found on this host"),
        ("-1", "user '-1' not found on this host"),
        ("1٣", "user '1٣' not found on this host"),
        ("root:nosuch", "group 'nosuch' not found on this host"),
        ("4000000", "user 4000000 is not in this host's user database, so its group is not known"),
    ],
)
def test_who_this_host_does_not_know_is_refused(text, message):
    with pytest.raises(AttachError) as caught:
        parse_user(text)
    assert str(caught.value) == message


def test_the_program_runs_as_the_user(secretfs_run):
    result = secretfs_run("--user", "daemon:4242", "--", "grep", "-E", "^([UG]id|Groups|CapEff)", "/proc/self/status")
    groups = " ".join(str(gid) for gid in sorted(os.getgrouplist("daemon", 4242)))
    seen = [" ".join(line.split()[1:]) for line in result.stdout.splitlines()]
    uid = str(DAEMON.pw_uid)
    assert seen == [" ".join([uid] * 4), "4242 4242 4242 4242", groups, "0" * 16]


def test_the_user_reads_what_is_its_own_only(secretfs_run):
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        show = ["--target-dir", f"{directory}/secrets", "--", "cat", f"{directory}/secrets/my_secret"]
        assert secretfs_run("--user", "4000000:104", *show).stdout == "This is a secret"
        refused = secretfs_run("--user", "4000000:105", *show)
        assert (refused.returncode, refused.stdout) == (1, "")
