"""``key rotate`` on a real daemon, with kill -9 of control in the middle: every value opens, by the new key."""

import contextlib
import json
import os
import random
import re
import sqlite3
import subprocess
import threading

import msgspec
import pytest
import trio
from daemons import SECRETFS, Daemon

from secretfs.control.chain import Chain
from secretfs.control.keys import Keys
from secretfs.control.records.cluster import cluster
from secretfs.control.records.codec import encode
from secretfs.control.records.objects import OBJECTS
from secretfs.control.usecases.commits import Commits
from secretfs.control.usecases.keys import BATCH
from secretfs.control.values import Values
from secretfs.core.names import Kind, ObjectId
from secretfs.core.plan import VersionRef
from secretfs.core.secret import Secret, Version
from secretfs.crypto.envelope import KeyEncryptionKey, unseal_into, unwrap_key, value_context
from secretfs.crypto.rootkey import root_key
from secretfs.errors import UnsealError
from secretfs.store.base import Put
from secretfs.store.sqlite import opened

pytestmark = pytest.mark.kernel

MANY = 3000
SOME = 600
AT_ONCE = 500
BATCH_SECONDS = 0.02  # less than one takes: the kills are spread over it
RECORDS = "SELECT key, value FROM record"


def value_of(name: str) -> bytes:
    return f"the value of {name}".encode()


def filled(daemon: Daemon, count: int) -> None:
    """A store that a daemon made, with so many secrets put straight into it."""
    daemon.start()
    assert daemon.end() == 0
    files = list(daemon.state.iterdir())
    owner = files[0].stat().st_uid
    for file in files:
        os.chown(file, 0, 0)
    trio.run(_fill, daemon, count)
    for file in daemon.state.iterdir():
        os.chown(file, owner, owner)


async def _fill(daemon: Daemon, count: int) -> None:
    async with opened(daemon.state / "secretfs.db") as store:
        keys = await cluster(store, root_key(f"file:{daemon.key}", create=False))
        ids = Commits(store, Chain(keys.audit_key))
        values = Values(store, keys)
        for start in range(0, count, AT_ONCE):
            ops: list[Put] = []
            for number in range(start, min(start + AT_ONCE, count)):
                ops += _secret(values, ObjectId(ids.new_id()), f"s{number}")
            await store.commit([], ops)


def _secret(values: Values, object_id: ObjectId, name: str) -> list[Put]:
    noun, value = OBJECTS[Kind.SECRET], value_of(name)
    secret = Secret(Kind.SECRET, object_id, name, {}, 1, 1, (Version(1, 1, len(value)),))
    puts = values.puts(Kind.SECRET, VersionRef(object_id, 1), value)
    return [Put(noun.name_key(name), encode(object_id)), Put(noun.key(object_id), encode(secret)), *puts]


class Snapshot:
    """The store as it was at one moment, while control may be writing."""

    def __init__(self, daemon: Daemon) -> None:
        source = sqlite3.connect(f"{(daemon.state / 'secretfs.db').as_uri()}?mode=ro", uri=True)
        with contextlib.closing(source), contextlib.closing(sqlite3.connect(":memory:")) as copy:
            source.backup(copy)
            self.records = {bytes(key).decode(): bytes(value) for key, value in copy.execute(RECORDS)}
        self.cluster_id = self.records["cluster/id"].decode()
        key = root_key(f"file:{daemon.key}", create=False)
        self.keyring = Keys.of_record(self.records["cluster/keyring"], key, self.cluster_id).keyring
        found = (msgspec.json.decode(value, type=Secret) for key, value in self.records.items() if key[:7] == "secret/")
        self.secrets = list(found)

    def context(self, secret: Secret) -> bytes:
        return value_context(self.cluster_id, Kind.SECRET, secret.id, 1)

    def wrapped(self, secret: Secret) -> bytes:
        return self.records[f"value/{secret.id}/1/key"]

    def value(self, secret: Secret) -> bytes:
        data_key = unwrap_key(self.wrapped(secret), context=self.context(secret), keyring=self.keyring)
        value = bytearray(secret.newest.size)
        unseal_into(data_key, self.records[f"value/{secret.id}/1/data"], self.context(secret), value)
        return bytes(value)

    def opens(self, secret: Secret, kek: KeyEncryptionKey) -> bool:
        """Whether the key opens the data key, under its own id or under the one that is written there."""
        wrapped = self.wrapped(secret)
        for key_id in {kek.key_id, wrapped[:8]}:
            with contextlib.suppress(UnsealError):
                keyring = {wrapped[:8]: KeyEncryptionKey(key_id, kek.key)}
                unwrap_key(wrapped, context=self.context(secret), keyring=keyring)
                return True
        return False


def keys_of_a_readable_store(daemon: Daemon, count: int) -> set[KeyEncryptionKey]:
    """Every value opens, to its own bytes; the keys that it takes."""
    found = Snapshot(daemon)
    assert len(found.secrets) == count
    for secret in found.secrets:
        assert found.value(secret) == value_of(secret.name)
    return set(found.keyring.values())


def nothing_opens_with(keys: set[KeyEncryptionKey], daemon: Daemon) -> None:
    """The store has one key, and none of these opens anything of it."""
    found = Snapshot(daemon)
    [active] = found.keyring.values()
    assert active not in keys
    for secret in found.secrets:
        assert found.opens(secret, active)
        assert not any(found.opens(secret, key) for key in keys)


def progress(daemon: Daemon) -> dict:
    return daemon.api("GET", "/secretfs/v1/keys/rotation")


def rotate_as_far_as(count: int, daemon: Daemon) -> None:
    """Begin a rotation, or join one, and return when so many values are rewrapped."""
    daemon.api("POST", "/secretfs/v1/keys/rotation")
    while (found := progress(daemon))["Running"] and found["Done"] < count:
        pass


def test_a_rotation_leaves_one_new_key_and_tasks_and_creates_notice_nothing(daemon):
    daemon.secret("db", value_of("db"))
    daemon.cli("service", "create", "--secret", "db", "web")
    task = daemon.task("--service", "web")
    before = daemon.out("key", "ls", "-q")
    assert re.fullmatch(r"[0-9a-f]{16}", before)
    after = daemon.out("key", "rotate")
    assert daemon.out("key", "ls", "--format", "{{.ID}} {{.Active}} {{.Values}}") == f"{after} * 1"
    assert after != before
    assert task.cat("db") == value_of("db")
    late = daemon.task("--service", "web")
    assert late.cat("db") == value_of("db")


def test_what_is_created_meanwhile_has_the_new_key(idle_daemon):
    daemon = idle_daemon
    filled(daemon, SOME)
    daemon.start()
    before = keys_of_a_readable_store(daemon, SOME)
    rotating = subprocess.Popen(
        [SECRETFS, "key", "rotate"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=daemon.environment
    )
    created = 0
    while rotating.poll() is None:
        name = f"meanwhile{created}"
        daemon.secret(name, value_of(name))
        created += 1
    out, err = rotating.communicate()
    assert (rotating.returncode, len(out.strip())) == (0, 16)
    assert all(re.fullmatch(r"secretfs: rewrapped \d+ of \d+", line) for line in err.splitlines())
    assert created
    keys_of_a_readable_store(daemon, SOME + created)
    nothing_opens_with(before, daemon)


@pytest.mark.parametrize(("kills", "secrets"), [(5, SOME), pytest.param(30, MANY, marks=pytest.mark.long)])
def test_kill_9_at_random_points_of_rotations_leaves_every_value_readable(idle_daemon, kills, secrets, capsys):
    daemon, dice = idle_daemon, random.Random(kills)
    filled(daemon, secrets)
    daemon.start()
    seen = keys_of_a_readable_store(daemon, secrets)
    in_the_middle = 0
    for _ in range(kills):
        rotate_as_far_as(dice.randrange(0, secrets, BATCH), daemon)
        threading.Event().wait(dice.uniform(0, BATCH_SECONDS))
        daemon.kill("control")
        left = keys_of_a_readable_store(daemon, secrets)
        in_the_middle += len(left) > 1
        seen |= left
        daemon.wait_for("child ready", module="secretfs.control")
    daemon.cli("key", "rotate")
    [active] = keys_of_a_readable_store(daemon, secrets)
    nothing_opens_with(seen - {active}, daemon)
    with capsys.disabled():
        print(f" {in_the_middle} of {kills} kills in the middle, {len(seen)} keys ", end="")  # noqa: T201
    assert in_the_middle > kills // 3


def test_a_rotation_that_a_kill_interrupted_goes_on_after_the_unlock(idle_daemon):
    daemon = idle_daemon
    filled(daemon, SOME)
    daemon.start()
    before = keys_of_a_readable_store(daemon, SOME)
    daemon.cli("swarm", "update", "--autolock=true")
    key = daemon.out("swarm", "unlock-key", "-q")
    daemon.api("POST", "/secretfs/v1/keys/rotation")
    daemon.kill("control")
    daemon.wait_for("child ready", module="secretfs.control")
    assert daemon.api("GET", "/info")["Swarm"]["LocalNodeState"] == "locked"
    daemon.cli("swarm", "unlock", input=key.encode())
    assert progress(daemon)["Running"]
    daemon.cli("key", "rotate")  # joins it
    daemon.cli("swarm", "update", "--autolock=false")
    nothing_opens_with(before, daemon)


def test_the_command_line_waits_for_a_control_that_was_replaced_in_the_middle(idle_daemon):
    daemon = idle_daemon
    filled(daemon, SOME)
    daemon.start()
    with subprocess.Popen(
        [SECRETFS, "key", "rotate"], stdout=subprocess.PIPE, text=True, env=daemon.environment
    ) as cli:
        while not progress(daemon)["Done"]:
            pass
        daemon.kill("control")
        out, _ = cli.communicate()
    assert cli.returncode == 0
    assert daemon.out("key", "ls", "-q") == out.strip()


def test_no_file_of_the_store_keeps_a_keyring_or_a_wrapped_key_of_before(daemon):
    """Each change of the lock, and each rotation, takes the records that it replaces off the disk."""
    daemon.secret("db", b"x")
    secret = daemon.api("GET", "/secrets")[0]["ID"]
    records = ("cluster/keyring", f"value/{secret}/1/key")
    changes = (
        ("swarm", "update", "--autolock=true"),
        ("swarm", "unlock-key", "--rotate"),
        ("key", "rotate"),
        ("swarm", "update", "--autolock=false"),
        ("key", "rotate"),
    )
    for words in changes:
        before = {key: _record(daemon, key) for key in records}
        daemon.cli(*words)
        daemon.out("swarm", "unlock-key") if "--autolock=true" in words else None
        after = {key: _record(daemon, key) for key in records}
        files = b"".join(path.read_bytes() for path in daemon.state.iterdir())
        for key in records:
            assert after[key] in files
            if before[key] != after[key]:
                assert not any(before[key][at : at + 16] in files for at in range(0, 64, 8)), (words, key)
        assert before["cluster/keyring"] != after["cluster/keyring"]


def _record(daemon: Daemon, key: str) -> bytes:
    with contextlib.closing(sqlite3.connect(f"{(daemon.state / 'secretfs.db').as_uri()}?mode=ro", uri=True)) as db:
        [(value,)] = db.execute("SELECT value FROM record WHERE key = ?", (key.encode(),))
        return bytes(value)


def test_a_damaged_record_is_named_and_keeps_the_old_key_but_no_other_value_from_the_new_one(daemon):
    daemon.secret("good", b"good")
    bad = daemon.secret("bad", b"bad")
    with contextlib.closing(sqlite3.connect(daemon.state / "secretfs.db")) as db, db:
        db.execute("UPDATE record SET value = zeroblob(68) WHERE key = ?", (f"value/{bad}/1/key".encode(),))
    done = daemon.cli("key", "rotate", check=False)
    assert done.returncode == 1
    assert f"as 'value/{bad}/1/key': the old key is kept for them" in done.stderr.decode()
    counts = daemon.out("key", "ls", "--format", "{{.Active}}{{.Values}}").split()
    assert counts == ["0", "*1"]
    daemon.cli("secret", "rm", "bad")
    daemon.cli("key", "rotate")
    assert daemon.out("key", "ls", "--format", "{{.Active}}{{.Values}}") == "*1"
    assert [json.loads(line)["event"] for line in daemon.lines if "cannot be rewrapped" in line]
