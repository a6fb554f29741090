"""The lock of the store and the key in it: use cases and routes over a real store, without processes."""

import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
from control_harness import ME, Client, Control, control_of, leader
from cryptography import x509
from trio.testing import wait_all_tasks_blocked

from secretfs.control import audit
from secretfs.control.api.application import api
from secretfs.control.keys import Keys
from secretfs.control.records.cluster import KEYRING, cluster
from secretfs.control.records.objects import wrapped_key_key
from secretfs.control.records.swarm import SWARM
from secretfs.control.records.tasks import TASKS
from secretfs.control.usecases import keys as rotations
from secretfs.control.usecases.keys import Rotation
from secretfs.control.usecases.membership import Membership, erase
from secretfs.control.usecases.swarm import Rotations, Swarm
from secretfs.control.usecases.tasks import AttachRequest
from secretfs.core.names import Kind
from secretfs.core.plan import VersionRef
from secretfs.crypto.lock import UnlockKey
from secretfs.errors import (
    BadRequestError,
    ConflictError,
    LockedError,
    NotInSwarmError,
    OutOfSequenceError,
    StoreError,
    UnavailableError,
    WrongUnlockKeyError,
)
from secretfs.store.base import Conflict, Del, Guard, Op, Put, Store
from secretfs.store.sqlite import opened
from secretfs.store.turn import Turn

ROOT = b"r" * 32
LOCKED = str(LockedError())
UPDATE = "/v1.50/swarm/update?version={}"


@dataclass
class Node:
    """One control, until ``again`` makes the next one of the same store."""

    control: Control
    keys: Keys
    swarm: Swarm
    rotation: Rotation

    async def autolock(self, *, on: bool = True, rotate: bool = False) -> None:
        await self.swarm.update(ME, (await self.swarm.state()).rev, autolock=on, rotate=Rotations(unlock_key=rotate))

    async def shown_key(self) -> str:
        """The unlock key, as a person got it."""
        key = await self.swarm.unlock_key(ME)
        self.swarm.was_shown(ME, key)
        await self.swarm.state()
        return key.text()

    async def again(self) -> "Node":
        return await node_of(self.control.store, self.control)


async def node_of(store: Store, before: Control | None = None) -> Node:
    keys = await cluster(store, ROOT)
    control = control_of(store, keys, before.fs if before else None)
    if before:
        control.fs._sealed = control.values.sealed

    async def unlocked() -> None:
        await control.trees.renew(control.fs)

    return Node(control, keys, Swarm(control.commits, keys, unlocked=unlocked), rotation_of(control))


def rotation_of(control: Control) -> Rotation:
    return Rotation(control.commits, control.keys, control.values)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with opened(tmp_path / "store.db") as store:
        yield await node_of(store)


@pytest.fixture
async def client(node: Node, serving, nursery) -> Client:
    nursery.start_soon(node.swarm.run)
    return await serving(handler_of(node))


def handler_of(node: Node):
    return api(node.control.commits, node.control.values, node.control.tasks, node.swarm, node.rotation)


async def carried_out(rotation: Rotation) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rotation.run)
        while rotation.progress.running:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


# --- the lock -----------------------------------------------------------------------------------------------


async def test_a_store_is_locked_once_its_unlock_key_was_shown_and_not_before(node):
    await node.autolock()
    assert not (await node.again()).keys.locked, "nobody has the key: a kill here must not lose the store"
    key = await node.shown_key()
    again = await node.again()
    assert again.keys.locked
    await again.swarm.unlock(ME, key)
    assert (await again.swarm.unlock_key(ME)).text() == key
    await again.autolock(rotate=True)
    assert not (await again.again()).keys.locked, "nobody has the new key"
    other = await again.shown_key()
    last = await again.again()
    with pytest.raises(WrongUnlockKeyError):
        await last.swarm.unlock(ME, key)
    await last.swarm.unlock(ME, other)
    await last.autolock(on=False)
    assert not (await last.again()).keys.locked


async def test_of_two_unlocks_at_once_the_second_is_refused_and_puts_no_old_keyring_back(node):
    await node.autolock()
    key = await node.shown_key()
    again = await node.again()
    kept = []

    async def unlock() -> None:
        await again.swarm.unlock(ME, key)
        await again.autolock(rotate=True)
        kept.append(again.keys.opened)

    async def unlock_as_well() -> None:
        with pytest.raises(ConflictError, match="swarm is not locked"):
            await again.swarm.unlock(ME, key)

    async with trio.open_nursery() as nursery, again.control.commits._turn:  # until both wait for theirs
        nursery.start_soon(unlock)
        await until_waiting(again.control.commits._turn, 1)
        nursery.start_soon(unlock_as_well)
        await until_waiting(again.control.commits._turn, 2)
    assert [again.keys.opened] == kept
    actions = [record.action for record in await audit.records(node.control.store)]
    assert actions.count("swarm unlock") == 1


async def until_waiting(turn: Turn, count: int) -> None:
    with trio.fail_after(5):
        while turn.waiting < count:
            await trio.lowlevel.checkpoint()


async def test_a_key_that_was_replaced_before_it_was_written_down_as_shown_does_not_lock(node):
    await node.autolock()
    first = await node.swarm.unlock_key(ME)
    await node.autolock(rotate=True)
    node.swarm.was_shown(ME, first)
    await node.swarm.state()
    assert not (await node.again()).keys.locked


async def test_switching_on_twice_keeps_the_key_and_rotating_without_autolock_is_nothing(node):
    await node.autolock(on=False, rotate=True)
    assert await node.swarm.unlock_key(ME) is None
    await node.autolock()
    key = await node.swarm.unlock_key(ME)
    await node.autolock()
    assert await node.swarm.unlock_key(ME) == key


async def test_an_update_that_is_based_on_an_older_state_is_refused(node):
    rev = (await node.swarm.state()).rev
    await node.autolock()
    with pytest.raises(OutOfSequenceError):
        await node.swarm.update(ME, rev, autolock=False)
    assert (await node.swarm.state()).autolock


async def test_a_locked_control_refuses_what_needs_a_key_and_an_unlock_only_the_right_one(node):
    await node.control.secret("db")
    await node.autolock()
    key = await node.shown_key()
    again = await node.again()
    control = again.control
    for refused in (
        control.secret("other"),
        control.attach(None, "db"),
        again.swarm.state(),
        again.swarm.unlock_key(ME),
        again.swarm.update(ME, 1, autolock=False),
        again.rotation.begin(ME),
        again.rotation.listed(),
    ):
        with pytest.raises(LockedError):
            await refused
    with pytest.raises(BadRequestError):
        await again.swarm.unlock(ME, "nonsense")
    with pytest.raises(WrongUnlockKeyError):
        await again.swarm.unlock(ME, UnlockKey.fresh().text())
    assert again.keys.locked
    await again.swarm.unlock(ME, key)
    with pytest.raises(ConflictError):
        await again.swarm.unlock(ME, key)
    await control.attach(None, "db")
    acts = [record.action for record in await audit.records(control.store) if record.kind == "swarm"]
    assert acts == ["swarm update", "swarm unlock-key", "swarm lock", "swarm unlock", "swarm unlock"]


class Failing:
    """A store that does the next commit of the keyring, and then says that it could not."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.get, self.list, self.watch = store.get, store.list, store.watch
        self.armed = False

    async def commit(self, guards: list[Guard], ops: list[Op]) -> int | Conflict:
        done = await self._store.commit(guards, ops)
        if (
            self.armed
            and not isinstance(done, Conflict)
            and any(isinstance(op, Put) and op.key == KEYRING for op in ops)
        ):
            self.armed = False
            raise StoreError("the disk does not say whether it was done")
        return done


async def test_a_change_of_which_nobody_knows_whether_it_was_done_loses_nothing(node):
    store = Failing(node.control.store)
    node = await node_of(store)
    for change in (node.autolock, node.shown_key, lambda: node.autolock(rotate=True), lambda: node.autolock(on=False)):
        store.armed = True
        with pytest.raises(StoreError):
            await change()
        key = await node.swarm.unlock_key(ME)
        again = await node.again()
        if again.keys.locked:
            await again.swarm.unlock(ME, key.text())
    assert not (await node.again()).keys.locked


# --- the routes ---------------------------------------------------------------------------------------------


async def test_a_locked_node_answers_ping_info_version_and_unlock_and_refuses_all_else(node, serving):
    await node.autolock()
    key = await node.shown_key()
    again = await node.again()
    client = await serving(handler_of(again))
    assert (await client("HEAD", "/_ping")).headers["swarm"] == "locked"
    assert (await client("GET", "/version")).status == 200
    swarm = (await client("GET", "/v1.50/info")).json["Swarm"]
    assert (swarm["LocalNodeState"], swarm["ControlAvailable"], swarm["Error"]) == ("locked", False, LOCKED)
    for method, path in (
        ("GET", "/secrets"), ("POST", "/secrets/create"), ("GET", "/configs"), ("GET", "/services"),
        ("POST", "/services/create"), ("DELETE", "/services/web"), ("GET", "/tasks"), ("GET", "/nodes"),
        ("GET", "/swarm"), ("GET", "/swarm/unlockkey"), ("POST", "/swarm/update?version=1"),
        ("GET", "/secretfs/v1/keys"), ("POST", "/secretfs/v1/keys/rotation"),
        ("GET", "/secretfs/v1/secrets/x/versions"),
    ):  # fmt: skip
        answer = await client(method, path, {} if method == "POST" else None)
        assert (answer.status, answer.message) == (503, LOCKED), path
    assert (await client("GET", "/nonsense")).status == 404
    assert (await client("GET", "/secretfs/v1/tasks")).json == []
    assert (await client("POST", "/swarm/unlock", {"UnlockKey": key[:-1]})).status in (400, 401)
    wrong = await client("POST", "/swarm/unlock", {"UnlockKey": UnlockKey.fresh().text()})
    assert (wrong.status, wrong.message) == (401, "swarm could not be unlocked: invalid key provided")
    done = await client("POST", "/swarm/unlock", {"unlockkey": key})
    assert (done.status, done.body) == (200, b"")
    again_unlocked = await client("POST", "/swarm/unlock", {"UnlockKey": key})
    assert (again_unlocked.status, again_unlocked.message) == (409, "swarm is not locked")
    assert (await client("HEAD", "/_ping")).headers["swarm"] == "active/manager"


async def test_an_update_takes_the_lock_and_refuses_every_other_change(client):
    found = (await client("GET", "/swarm")).json
    index, spec = found["Version"]["Index"], found["Spec"]
    assert spec["EncryptionConfig"] == {"AutoLockManagers": False}
    refused = {
        "Name": ("other", 400, "rpc error: code = InvalidArgument desc = modification of cluster name is not allowed"),
        "Orchestration": ({"TaskHistoryRetentionLimit": 3}, 501, "Orchestration.TaskHistoryRetentionLimit of the"),
        "Labels": ({"a": "b"}, 501, "Labels.a of the swarm cannot be changed to 'b'"),
        "CAConfig": ([], 400, "invalid JSON: json: cannot unmarshal array"),
        "EncryptionConfig": ({"AutoLockManagers": 1}, 400, "invalid JSON: json: cannot unmarshal number"),
    }  # fmt: skip
    for field, (value, status, text) in refused.items():
        answer = await client("POST", UPDATE.format(index), spec | {field: value})
        assert (answer.status, text in answer.message) == (status, True), answer.message
    answer = await client("POST", UPDATE.format(index) + "&rotateManagerUnlockKey=maybe", spec)
    assert (answer.status, answer.message) == (400, "invalid value for rotateManagerUnlockKey: maybe")
    answer = await client("POST", UPDATE.format("x"), spec)
    text = "invalid swarm version 'x': strconv.ParseUint: parsing \"x\": invalid syntax"
    assert (answer.status, answer.message) == (400, text)
    answer = await client("POST", UPDATE.format(index + 1), spec)
    assert (answer.status, answer.message) == (500, "rpc error: code = Unknown desc = update out of sequence")
    assert (await client("GET", "/swarm")).json == found, "nothing was changed"

    only_the_lock = {"EncryptionConfig": {"AutoLockManagers": True}}
    assert (await client("POST", UPDATE.format(index), only_the_lock)).status == 200
    key = (await client("GET", "/swarm/unlockkey")).json["UnlockKey"]
    assert key.startswith("SWMKEY-1-")
    index = (await client("GET", "/swarm")).json["Version"]["Index"]
    assert (await client("POST", UPDATE.format(index), {"Name": "default"})).status == 200, (
        "absent is off, as in Docker"
    )
    assert (await client("GET", "/swarm/unlockkey")).json == {"UnlockKey": ""}


async def test_an_unlock_key_locks_as_soon_as_its_answer_was_sent(node, client):
    await node.autolock()
    await client("GET", "/swarm/unlockkey")
    with trio.fail_after(5):
        while not (await node.again()).keys.locked:
            await trio.lowlevel.checkpoint()


async def test_join_tokens_and_the_root_are_kept_until_a_token_is_replaced(node, client):
    found = (await client("GET", "/swarm")).json
    tokens, tls = found["JoinTokens"], found["TLSInfo"]
    for token in tokens.values():
        assert re.fullmatch("SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}", token)
    root = x509.load_pem_x509_certificate(tls["TrustRoot"].encode())
    root.verify_directly_issued_by(root)
    assert base64.b64decode(tls["CertIssuerSubject"]) == root.subject.public_bytes()
    answer = await client("POST", UPDATE.format(found["Version"]["Index"]) + "&rotateWorkerToken=true", found["Spec"])
    assert answer.status == 200
    now = (await client("GET", "/swarm")).json
    assert now["Version"]["Index"] > found["Version"]["Index"]
    assert now["JoinTokens"]["Worker"] != tokens["Worker"]
    assert (now["JoinTokens"]["Manager"], now["TLSInfo"]) == (tokens["Manager"], tls)
    again = await node.again()
    assert (await again.swarm.state()).record.worker == now["JoinTokens"]["Worker"]
    cluster_info = (await client("GET", "/info")).json["Swarm"]["Cluster"]
    assert "JoinTokens" not in cluster_info
    assert cluster_info["TLSInfo"] == tls


async def test_a_store_without_tokens_gets_them_when_they_are_asked_for(node):
    await node.control.store.commit([], [Del(SWARM)])
    first = await node.swarm.state()
    assert (await node.swarm.state()) == first


async def test_the_root_cannot_be_rotated(client):
    found = (await client("GET", "/swarm")).json
    spec = found["Spec"] | {"CAConfig": found["Spec"]["CAConfig"] | {"ForceRotate": 1}}
    answer = await client("POST", UPDATE.format(found["Version"]["Index"]), spec)
    assert answer.status == 501
    assert "CAConfig.ForceRotate" in answer.message


# --- what is said about the node ----------------------------------------------------------------------------


async def test_labels_and_availability_of_the_node_are_kept(node, client):
    [found] = (await client("GET", "/nodes")).json
    path = f"/nodes/{found['ID']}/update?version={found['Version']['Index']}"
    spec = {"labels": {"a": "b"}, "role": "manager", "availability": "drain"}
    assert (await client("POST", path, spec)).status == 200
    now = (await client("GET", f"/nodes/{found['ID'][:8]}")).json
    assert now["Spec"] == {"Labels": {"a": "b"}, "Role": "manager", "Availability": "drain"}
    assert now["Version"]["Index"] > found["Version"]["Index"]
    assert (now["CreatedAt"], now["ManagerStatus"]["Leader"]) == (found["CreatedAt"], True)
    answer = await client("POST", path, spec)
    assert (answer.status, answer.message) == (500, "rpc error: code = Unknown desc = update out of sequence")
    for filters, count in (('{"node.label":["a=b"]}', 1), ('{"node.label":["a=c"]}', 0), ('{"role":["worker"]}', 0)):
        assert len((await client("GET", f"/nodes?filters={filters}")).json) == count
    assert [event.changes for event in node.control.commits.events._kept] == [{"availability": ("active", "drain")}]


REFUSED_OF_NODES = [
    ({"Role": "manager"}, 400, 'invalid Availability: ""'),
    ({"Availability": "active"}, 400, 'invalid Role: ""'),
    ({"Role": "manager", "Availability": "on"}, 400, 'invalid Availability: "on"'),
    ({"Role": "worker", "Availability": "active"}, 400,
     "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "status", "text"), REFUSED_OF_NODES)
async def test_what_a_node_cannot_be_is_refused_in_dockers_words(client, spec, status, text):
    [found] = (await client("GET", "/nodes")).json
    answer = await client("POST", f"/nodes/{found['ID']}/update?version={found['Version']['Index']}", spec)
    assert (answer.status, answer.message) == (status, text)


async def test_the_node_is_not_removed_and_no_other_is_known(client):
    [found] = (await client("GET", "/nodes")).json
    answer = await client("DELETE", f"/nodes/{found['ID']}?force=1")
    assert answer.status == 400
    assert "It must be demoted to worker before removal" in answer.message
    answer = await client("POST", "/nodes/nope/update?version=1", {"Role": "manager", "Availability": "active"})
    assert (answer.status, answer.message) == (404, "node nope not found")
    answer = await client("POST", f"/nodes/{found['ID']}/update", {})
    assert answer.message == "invalid node version '': strconv.ParseUint: parsing \"\": invalid syntax"
    answer = await client("GET", '/nodes?filters={"role":["x"]}')
    assert (answer.status, answer.message) == (400, "invalid role filter: 'x'")


# --- leaving it ---------------------------------------------------------------------------------------------


async def test_a_swarm_is_not_left_unless_it_is_meant(node, client):
    answer = await client("POST", "/swarm/leave")
    assert answer.status == 503
    assert answer.message.startswith(
        "You are attempting to leave the swarm on a node that is participating as a manager"
    )
    await node.autolock()
    await node.shown_key()
    again = await node.again()
    with pytest.raises(UnavailableError, match="Swarm is encrypted and locked"):
        await membership_of(again).leave(ME, force=False)


OUTSIDE = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
    "swarm and try again."
)


async def test_what_is_left_is_flushed_erased_and_cannot_be_had_back(node, client):
    control = node.control
    await control.secret("s", b"This is a secret")
    await control.service("web", "s")
    task = (await control.attach("web")).task.id
    tokens = (await client("GET", "/swarm")).json["JoinTokens"]
    assert (await client("POST", "/swarm/leave?force=1")).status == 200
    assert task not in control.fs.trees
    for prefix in ("secret/", "service/", "task/", "name/", "refs/", "network/"):
        assert (await control.store.list(prefix)).items == (), prefix
    answer = await client("GET", "/secrets")
    assert (answer.status, answer.message) == (503, OUTSIDE)
    info = (await client("GET", "/info")).json["Swarm"]
    assert (info["LocalNodeState"], info["ControlAvailable"], info["NodeID"]) == ("inactive", False, "")
    with pytest.raises(NotInSwarmError):
        await control.attach(None, "s")
    answer = await client("POST", "/swarm/leave?force=1")
    assert (answer.status, answer.message) == (503, "This node is not part of a swarm")
    answer = await client("POST", "/swarm/join", {"RemoteAddrs": ["x:1"]})
    assert answer.status == 501
    assert (await node.again()).keys.left, "a restart makes no swarm"

    answer = await client("POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377", "AutoLockManagers": True})
    assert (answer.status, len(answer.json)) == (200, 25)
    assert (await client("GET", "/secrets")).json == []
    assert (await client("GET", "/swarm/unlockkey")).json["UnlockKey"].startswith("SWMKEY-1-")
    assert (await client("GET", "/swarm")).json["JoinTokens"] != tokens
    actions = [record.action for record in await audit.records(control.store)]
    assert [action for action in actions if action.startswith("swarm ")][:2] == ["swarm leave", "swarm init"]


async def test_a_locked_store_whose_key_is_lost_can_be_given_up(node):
    await node.control.secret("s")
    await node.autolock()
    await node.shown_key()
    again = await node.again()
    assert again.keys.locked
    membership = membership_of(again)
    await membership.leave(ME, force=True)
    assert (again.keys.locked, again.keys.left) == (False, True)
    await membership.init(ME, autolock=False, availability="active")
    again.keys.check()
    await again.control.secret("s")


async def test_all_trees_are_flushed_whatever_becomes_of_one_task(node):
    control = node.control
    await control.secret("s", b"This is a secret")
    await control.service("web", "s")
    mounted = AttachRequest("web", (), "/run/secrets", mounted=True)
    await control.tasks.attach(ME, mounted, leader())
    unreadable = (await control.attach("web")).task.id
    await control.attach("web")
    await control.store.commit([], [Put(TASKS.key(unreadable), b"no task")])
    control.broker.failure = UnavailableError("the supervisor does not answer")
    with pytest.raises(UnavailableError, match="does not answer"):
        await membership_of(node).leave(ME, force=True)
    assert (control.fs.trees, control.fs.values) == ({}, {})
    [left] = await control.tasks.listed()
    assert left.value.mounted, "its record still tells of the mount"
    control.broker.failure = None
    assert await control.tasks.detach(left.value.id, "by hand", caller=ME)


async def test_what_is_made_in_the_next_swarm_is_not_erased_with_the_one_that_was_left(node, nursery):
    control, membership, made = node.control, membership_of(node), trio.Event()
    await control.secret("old")
    await control.attach(None, "old")
    control.fs.stalled = trio.Event()

    async def again() -> None:
        await membership.init(ME, autolock=False, availability="active")
        await control.secret("new")
        made.set()

    async with trio.open_nursery() as leaving:
        leaving.start_soon(partial(membership.leave, ME, force=True))
        await wait_all_tasks_blocked(0.1)
        nursery.start_soon(again)
        await wait_all_tasks_blocked(0.3)
        control.fs.stalled.set()
    with trio.fail_after(5):
        await made.wait()
    assert [found.value.name for found in await control.secrets.listed(Kind.SECRET, {})] == ["new"]


async def test_an_unlock_key_that_was_shown_before_is_forgotten_with_the_swarm(node):
    await node.autolock()
    await node.shown_key()
    membership = membership_of(node)
    await membership.leave(ME, force=True)
    node.swarm.was_shown(ME, UnlockKey.fresh())  # its answer was on its way
    await node.swarm._settle()
    assert node.swarm._shown is None


async def test_what_a_kill_left_of_a_swarm_is_gone_before_anything_is_shown(node, monkeypatch):
    async def killed(_: Store) -> None:
        raise StoreError("killed")

    await node.control.secret("s")
    monkeypatch.setattr("secretfs.control.usecases.membership.erase", killed)
    with pytest.raises(StoreError):
        await membership_of(node).leave(ME, force=True)
    monkeypatch.undo()
    again = await node.again()
    assert again.keys.left
    await erase(again.control.store)
    assert (await again.control.store.list("secret/")).items == ()


def membership_of(node: Node) -> Membership:
    return Membership(node.control.commits, node.keys, node.control.tasks)


@pytest.mark.parametrize("path", ["/swarm/init", "/swarm/join"])
async def test_a_node_is_in_its_swarm_already(client, path):
    answer = await client("POST", path, {"ListenAddr": "0.0.0.0:2377"})
    assert answer.status == 503
    assert answer.message.startswith("This node is already part of a swarm.")


# --- the key in it ------------------------------------------------------------------------------------------


async def test_a_rotation_under_autolock_keeps_the_unlock_key(node):
    await node.control.secret("db")
    await node.autolock()
    key = await node.shown_key()
    await node.rotation.begin(ME)
    await carried_out(node.rotation)
    again = await node.again()
    await again.swarm.unlock(ME, key)
    assert len(again.keys.keyring) == 1
    assert again.keys.keyring.active == node.keys.keyring.active


async def test_a_value_that_was_changed_while_it_was_rewrapped_is_rewrapped_again(node, monkeypatch):
    monkeypatch.setattr(rotations, "BATCH", 2)
    ids = [await node.control.secret(f"s{number}") for number in range(5)]
    record = wrapped_key_key(VersionRef(ids[0], 1))
    store, racing = node.control.store, [True]

    class Racing(Failing):
        async def commit(self, guards, ops):
            if racing and any(guard.key == record for guard in guards):
                racing.clear()
                await store.commit([], [Put(record, (await store.get(record)).value)])
            return await store.commit(guards, ops)

    node = await node_of(Racing(store))
    await node.rotation.begin(ME)
    await carried_out(node.rotation)
    assert (racing, node.rotation.progress.failure) == ([], "")
    assert await node.rotation.listed() == {node.keys.keyring.active.key_id.hex(): 5}
    assert [bytes(await node.control.values.opened(VersionRef(one, 1))) for one in ids] == [b"a value"] * 5


async def test_a_store_that_fails_in_the_middle_is_tried_again_and_every_value_opens_meanwhile(node, autojump_clock):
    object_id = await node.control.secret("db")
    store = node.control.store
    failing = [True, True]

    class Broken(Failing):
        async def commit(self, guards, ops):
            if failing and any(op.key.startswith("value/") for op in ops):
                failing.pop()
                raise StoreError("no")
            return await store.commit(guards, ops)

    node = await node_of(Broken(store))
    await node.rotation.begin(ME)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.rotation.run)
        while len(node.keys.keyring) > 1:
            await trio.sleep(0.1)
            assert bytes(await node.control.values.opened(VersionRef(object_id, 1))) == b"a value"
        nursery.cancel_scope.cancel()
    assert not failing


async def test_a_rotation_under_way_is_joined_and_said_in_the_api(node, client):
    await node.control.secret("db")
    first = await client("POST", "/secretfs/v1/keys/rotation")
    second = await client("POST", "/secretfs/v1/keys/rotation")
    assert (first.status, first.json) == (202, second.json)
    assert (await client("GET", "/secretfs/v1/keys/rotation")).json["Running"]
    listed = (await client("GET", "/secretfs/v1/keys")).json
    assert [(key["Active"], key["Values"]) for key in listed] == [(False, 1), (True, 0)]
    await carried_out(node.rotation)
    said = (await client("GET", "/secretfs/v1/keys/rotation")).json
    assert said == {"Running": False, "Done": 1, "Total": 1, "Failure": ""}
    assert (await client("GET", "/secretfs/v1/keys")).json == [listed[1] | {"Values": 1}]


async def test_keys_do_not_print_themselves(node):
    await node.autolock()
    text = json.dumps([repr(node.keys), repr(node.keys.opened), str(node.swarm)])
    key = (await node.swarm.unlock_key(ME)).key
    for secret in (ROOT, key, node.keys.keyring.active.key):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text
