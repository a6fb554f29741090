"""The rules that need the store: under any race, with a file system that is away, full, or late."""

from types import SimpleNamespace

import pytest
import trio
from control_harness import ME, Control
from trio.testing import wait_all_tasks_blocked

from secretfs.control import audit, trees
from secretfs.control.usecases import showing
from secretfs.control.usecases.secrets import Draft
from secretfs.control.usecases.tasks import AttachRequest
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind
from secretfs.core.plan import VersionRef
from secretfs.core.task import TaskEvent
from secretfs.errors import (
    AlreadyExistsError,
    ArenaFullError,
    InvalidGrantError,
    NotFoundError,
    ObjectInUseError,
    OutOfSequenceError,
    PreconditionError,
    SecretfsError,
    UnavailableError,
    UnsealError,
)
from secretfs.store.base import Put

RACES = 10
MANY = 120  # more than a commit would be tried again


async def outcomes(*acts) -> list[str]:
    """Do all at once; the class of what each raised, or ok."""
    results = ["ok"] * len(acts)

    async def run(number: int, act) -> None:
        try:
            await act()
        except SecretfsError as exc:
            results[number] = type(exc).__name__

    async with trio.open_nursery() as nursery:
        for number, act in enumerate(acts):
            nursery.start_soon(run, number, act)
    return results


async def test_of_many_that_create_one_name_one_wins(control: Control) -> None:
    results = await outcomes(*([lambda: control.secret("db")] * RACES))
    assert sorted(results) == [AlreadyExistsError.__name__] * (RACES - 1) + ["ok"]


async def test_a_grant_and_a_removal_that_race_are_never_both_done(control: Control) -> None:
    for number in range(RACES):
        name = f"s{number}"
        await control.secret(name)
        draft = await control.draft(f"web{number}", name)
        created, removed = await outcomes(
            lambda draft=draft: control.services.create(ME, draft),
            lambda name=name: control.secrets.remove(ME, Kind.SECRET, name),
        )
        assert (created, removed) in {("ok", "ObjectInUseError"), ("InvalidGrantError", "ok")}


async def test_an_adhoc_grant_and_a_removal_that_race_are_never_both_done(control: Control) -> None:
    for number in range(RACES):
        name = f"s{number}"
        await control.secret(name)
        attached, removed = await outcomes(
            lambda name=name: control.attach(None, name),
            lambda name=name: control.secrets.remove(ME, Kind.SECRET, name),
        )
        assert (attached, removed) in {("ok", "ObjectInUseError"), ("InvalidGrantError", "ok")}


async def test_of_many_updates_of_one_version_one_wins(control: Control) -> None:
    await control.secret("db")
    await control.service("web")
    rev = (await control.services.inspect("web")).rev
    draft = await control.draft("web", "db")
    results = await outcomes(*([lambda: control.services.update(ME, "web", rev, draft)] * RACES))
    assert sorted(results) == [OutOfSequenceError.__name__] * (RACES - 1) + ["ok"]


async def test_an_attach_and_a_removal_of_the_service_leave_no_tree(control: Control) -> None:
    await control.secret("db")
    for number in range(RACES):
        await control.service(f"web{number}", "db")
        await outcomes(
            lambda number=number: control.attach(f"web{number}"),
            lambda number=number: control.services.remove(ME, f"web{number}"),
        )
        assert control.fs.trees == {}
        assert await control.tasks.listed() == []


async def test_many_updates_and_attaches_at_once_end_with_the_newest_tree_everywhere(control: Control) -> None:
    for name in "abc":
        await control.secret(name)
    await control.service("web", "a")

    async def grant(name: str) -> None:
        while True:
            try:
                await control.update("web", name)
            except OutOfSequenceError:
                continue
            return

    await outcomes(*(lambda name=name: grant(name) for name in "abcabc"), *([lambda: control.attach("web")] * RACES))
    [granted] = (await control.services.inspect("web")).value.grants
    shown = {tuple(target for _, target in tree) for tree in control.fs.trees.values()}
    assert len(control.fs.trees) == RACES
    assert shown == {(granted.object_name,)}


async def test_many_tasks_that_begin_and_end_at_once_with_one_secret_all_do(control: Control) -> None:
    await control.secret("db")
    assert set(await outcomes(*([lambda: control.attach(None, "db")] * MANY))) == {"ok"}
    tasks = [found.value.id for found in await control.tasks.listed()]
    assert len(control.fs.trees) == MANY
    assert set(await outcomes(*(lambda task=task: control.tasks.detach(task, "done") for task in tasks))) == {"ok"}
    assert (control.fs.trees, control.fs.values) == ({}, {})
    await control.secrets.remove(ME, Kind.SECRET, "db")


async def test_another_writer_of_the_same_store_is_waited_for_no_longer_than_it_takes(control: Control) -> None:
    other = control.again()
    results = await outcomes(*([lambda: control.secret("db")] * 5), *([lambda: other.secret("db")] * 5))
    assert sorted(results) == [AlreadyExistsError.__name__] * 9 + ["ok"]


async def test_an_update_is_answered_when_every_task_shows_it(control: Control) -> None:
    await control.secret("a", b"A")
    await control.secret("b", b"B")
    await control.service("web", "a:x")
    tasks = [(await control.attach("web")).task.id for _ in range(3)]
    assert await control.update("web", "b:x") == []
    assert [control.fs.read(task, "x") for task in tasks] == [b"B"] * 3
    assert await control.update("web") == []
    assert control.fs.values == {}


async def test_an_update_that_fs_is_late_for_is_done_with_a_warning_and_shown_later(
    control: Control, monkeypatch, nursery
) -> None:
    monkeypatch.setattr(showing, "UPDATE_SECONDS", 0.05)
    monkeypatch.setattr(trees, "RETRY_SECONDS", 0.01)
    await control.secret("db")
    await control.service("web")
    task = (await control.attach("web")).task.id
    control.fs.stalled = trio.Event()
    nursery.start_soon(control.trees.keep_up, control.fs)
    assert await control.update("web", "db") == [
        f"task {task} does not show its new grants yet: fs did not answer within 0.05 s"
    ]
    assert control.fs.trees == {task: {}}
    control.fs.stalled.set()
    await shown(control, task, "db")
    nursery.cancel_scope.cancel()


async def test_a_tree_that_fs_refuses_is_a_warning_and_tried_until_it_is_there(
    control: Control, monkeypatch, nursery
) -> None:
    monkeypatch.setattr(trees, "RETRY_SECONDS", 0.01)
    await control.secret("db")
    await control.service("web")
    task = (await control.attach("web")).task.id
    control.fs.failure = UnavailableError("fs is away")
    nursery.start_soon(control.trees.keep_up, control.fs)
    assert await control.update("web", "db") == [f"task {task} does not show its new grants yet: fs is away"]
    control.fs.failure = None
    await shown(control, task, "db")
    nursery.cancel_scope.cancel()


async def test_an_update_that_never_got_its_turn_is_shown_later(control: Control, monkeypatch, nursery) -> None:
    monkeypatch.setattr(showing, "UPDATE_SECONDS", 0.05)
    monkeypatch.setattr(trees, "RETRY_SECONDS", 0.01)
    await control.secret("a")
    await control.secret("b")
    await control.service("web")
    task = (await control.attach("web")).task.id
    control.fs.stalled = trio.Event()
    await control.update("web", "a")
    nursery.start_soon(control.trees.keep_up, control.fs)
    while not control.fs.stalled.statistics().tasks_waiting:
        await trio.lowlevel.checkpoint()
    assert await control.update("web", "b") != []  # behind the first, which is said to fs again and again
    control.fs.stalled.set()
    await shown(control, task, "b")
    nursery.cancel_scope.cancel()


async def test_who_reads_the_record_of_a_task_that_has_ended_shows_nothing(control: Control, nursery) -> None:
    await control.secret("db")
    task = (await control.attach(None, "db")).task.id
    read, late = control.store.get, trio.Event()

    async def get(key: str):
        item = await read(key)
        await late.wait()
        return item

    await control.trees.end(control.fs, task)
    control.trees._store = SimpleNamespace(get=get)
    nursery.start_soon(control.trees.show, control.fs, task)
    await wait_all_tasks_blocked(0.05)  # it has read the record, if it ever does
    control.trees._store = control.store
    await control.commits.change(ME, lambda: control.tasks._gone(task, "it ended", None))
    control.trees.forget(task)
    late.set()
    await wait_all_tasks_blocked(0.05)
    assert (control.fs.trees, control.trees.desired()) == ({}, {})


async def test_nothing_is_kept_of_a_task_that_is_gone(control: Control) -> None:
    await control.secret("db")
    task = (await control.attach(None, "db")).task.id
    await control.tasks.detach(task, "it ended")
    assert await control.trees.show(control.fs, task) == {}
    kept = (control.trees._ended, control.trees._behind, control.trees._wanted, control.trees._turns)
    assert [len(names) for names in kept] == [0, 0, 0, 0]


async def shown(control: Control, task: str, target: str) -> None:
    with trio.fail_after(5):
        while (Kind.SECRET, target) not in control.fs.trees.get(task, {}):
            await trio.lowlevel.checkpoint()


async def test_an_attach_that_does_not_fit_the_arena_leaves_nothing(control: Control) -> None:
    await control.secret("large", bytes(5000))
    control.fs._arena_bytes = 4000
    with pytest.raises(ArenaFullError):
        await control.attach(None, "large")
    assert (control.fs.trees, await control.tasks.listed()) == ({}, [])
    await control.secrets.remove(ME, Kind.SECRET, "large")
    assert [record.action for record in await audit.records(control.store)][1:] == [
        "task attach",
        "task detach",
        "secret rm",
    ]


@pytest.mark.parametrize(
    ("service", "granted", "error", "text"),
    [
        (None, (), InvalidGrantError, "nothing is granted: give --service NAME or --secret NAME"),
        (None, ("nope",), InvalidGrantError, "secret not found: nope"),
        ("nope", (), NotFoundError, "service nope not found"),
        ("web", ("db",), InvalidGrantError, "secret references 'db' and 'db' have a conflicting target: 'db'"),
        (
            "absolute",
            (),
            InvalidGrantError,
            "secret 'db' has the absolute target '/etc/x': a task can have targets below /run/secrets/ only",
        ),
    ],
)
async def test_an_attach_that_cannot_be_is_refused_and_leaves_nothing(control, service, granted, error, text):
    await control.secret("db")
    await control.service("web", "db")
    await control.service("absolute", "db:/etc/x")
    with pytest.raises(error) as refusal:
        await control.attach(service, *granted)
    assert str(refusal.value) == text
    assert (control.fs.trees, await control.tasks.listed()) == ({}, [])


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"version": 2}, InvalidGrantError, "secret db has no version 2: the newest is 1"),
        (
            {"uid": "nobody-here"},
            InvalidGrantError,
            "unknown user 'nobody-here': this host has none of that name",
        ),
        (
            {"gid": "nobody-here"},
            InvalidGrantError,
            "unknown group 'nobody-here': this host has none of that name",
        ),
        ({"target": "a/../b"}, InvalidGrantError, "invalid target 'a/../b': '..' is not allowed"),
    ],
)
async def test_an_adhoc_grant_is_checked_when_it_is_granted(control, fields, error, text):
    await control.secret("db")
    request = GrantRequest(**{"kind": Kind.SECRET, "source": "db", "target": "db"} | fields)
    with pytest.raises(error) as refusal:
        await control.tasks.attach(ME, AttachRequest(None, (request,), "/run/secrets"), None)
    assert str(refusal.value) == text


async def test_an_adhoc_grant_takes_names_of_users_and_any_case_of_a_secret(control: Control) -> None:
    object_id = await control.secret("db")
    request = GrantRequest(Kind.SECRET, "DB", "x", "root", "root", 0o400, 1)
    attached = await control.tasks.attach(ME, AttachRequest(None, (request,), "/x"), None)
    [entry] = attached.tree.values()
    assert (entry.uid, entry.gid, entry.mode, entry.content) == (0, 0, 0o400, VersionRef(object_id, 1))
    assert attached.names == {(Kind.SECRET, "x"): "db"}


async def test_a_task_lives_by_the_table(control: Control) -> None:
    await control.secret("db")
    task = (await control.attach(None, "db")).task.id
    await control.tasks.running(task, 5)
    with pytest.raises(PreconditionError, match="task is running: it cannot be started"):
        await control.tasks.running(task, 5)
    await control.tasks.detach(task, "done", event=TaskEvent.ENDED)
    await control.tasks.detach(task, "again")
    with pytest.raises(NotFoundError):
        await control.tasks.running(task, 5)
    details = [record.detail for record in await audit.records(control.store) if record.kind == "task"]
    assert [detail["State"] for detail in details] == ["starting", "running", "complete"]
    assert details[-1]["Reason"] == "done"


async def test_a_detach_while_fs_is_away_is_done_and_fs_is_never_told_the_tree_again(control: Control) -> None:
    await control.secret("db")
    task = (await control.attach(None, "db")).task.id
    control.fs.failure = UnavailableError("fs is away")
    await control.tasks.detach(task, "by hand")
    assert (control.trees.desired(), await control.tasks.listed()) == ({}, [])


async def test_after_a_restart_the_desired_trees_are_those_that_fs_has(control: Control) -> None:
    await control.secret("db")
    await control.secret("key")
    await control.service("web", "db:sub/x")
    await control.attach("web", "key")
    await control.attach(None, "db")
    again = control.again()
    await again.trees.load()
    assert again.trees.desired() == control.fs.trees


async def test_a_secret_is_free_again_when_its_last_user_is_gone(control: Control) -> None:
    await control.secret("db")
    await control.service("web", "db:x", "db:y")
    task = (await control.attach(None, "db")).task.id
    await control.update("web", "db:z")
    with pytest.raises(ObjectInUseError):
        await control.secrets.remove(ME, Kind.SECRET, "db")
    await control.services.remove(ME, "web")
    with pytest.raises(ObjectInUseError):
        await control.secrets.remove(ME, Kind.SECRET, "db")
    await control.tasks.detach(task, "done")
    await control.secrets.remove(ME, Kind.SECRET, "db")
    left = await control.store.list("")
    assert {item.key.partition("/")[0] for item in left.items} == {"audit", "audithead"}


async def test_the_value_of_another_object_does_not_open(control: Control) -> None:
    one, two = await control.secret("one"), await control.secret("two")
    for part in ("key", "data"):
        stolen = await control.store.get(f"value/{one}/1/{part}")
        await control.store.commit([], [Put(f"value/{two}/1/{part}", stolen.value)])
    with pytest.raises(UnsealError):
        await control.attach(None, "two")
    assert (control.fs.trees, await control.tasks.listed()) == ({}, [])


async def test_a_config_and_a_secret_of_one_name_live_side_by_side(control: Control) -> None:
    await control.secret("db", b"secret")
    await control.secrets.create(ME, Draft(Kind.CONFIG, "db", {}), b"config")
    requests = tuple(GrantRequest(kind, "db", "db") for kind in Kind)
    attached = await control.tasks.attach(ME, AttachRequest(None, requests, "/run/secrets"), None)
    task = attached.task.id
    assert (control.fs.read(task, "db"), control.fs.read(task, "db", Kind.CONFIG)) == (b"secret", b"config")
