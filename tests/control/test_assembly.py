"""Control as one: ready means ready, and a stop flushes every tree and keeps the records."""

import json
import socket
from pathlib import Path

import pytest
import trio
from control_harness import Running

from secretfs.control import assembly, log
from secretfs.linux.namespaces import ns_inode


async def attached(running: Running) -> None:
    """Attach this very process to the service, up to the message before its program would start."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        await peer.connect(str(running.attach))
        await peer.send(json.dumps({"Service": "web", "Secrets": [], "TargetDir": "/run/secrets"}).encode())
        answer = json.loads(await peer.recv(65536))
        assert answer["Files"] == [{"Kind": "secret", "Name": "db", "Target": "db"}]


async def test_api_and_attach_socket_answer_when_it_says_that_it_is_ready(control, serving_all):
    running = await serving_all(control)
    assert (await running.client("GET", "/_ping")).body == b"OK"
    await control.secret("db")
    await control.service("web", "db")
    await attached(running)
    with trio.fail_after(5):  # the peer went away: the task is taken back
        while control.fs.trees:
            await trio.lowlevel.checkpoint()


async def test_a_stop_flushes_every_tree_keeps_the_records_and_answers_nobody_any_more(control, serving_all):
    await control.secret("db")
    task = (await control.attach(None, "db")).task.id
    await control.tasks.running(task, ns_inode("self", "mnt"))
    running = await serving_all(control)
    assert list(control.fs.trees) == [task]
    running.stop.set()
    with trio.fail_after(5):
        await running.ended.wait()
    assert (control.fs.trees, control.fs.values) == ({}, {})
    assert [found.value.id for found in await control.tasks.listed()] == [task]
    with pytest.raises((OSError, trio.BrokenResourceError)):
        await running.client("GET", "/_ping")


async def test_a_stop_is_bounded_when_fs_does_not_answer(control, serving_all, monkeypatch, capfd):
    monkeypatch.setattr(assembly, "FLUSH_SECONDS", 0.05)
    await control.secret("db")
    task = (await control.attach(None, "db")).task.id
    await control.tasks.running(task, ns_inode("self", "mnt"))
    running = await serving_all(control)
    control.fs.stalled = trio.Event()
    running.stop.set()
    with trio.fail_after(5):
        await running.ended.wait()
    assert "not every tree was flushed in time" in capfd.readouterr().err


async def test_a_log_line_is_one_json_object(capfd):
    log.info("it happened", task="x", path=Path("/a"))
    log.warning('with "quotes"\nand lines', number=1)
    log.error("bad")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "it happened"),
        ("warning", 'with "quotes"\nand lines'),
        ("error", "bad"),
    ]
    assert lines[0]["path"] == "/a"
