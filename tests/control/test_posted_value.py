"""A posted value lives only while it is created: nothing of it is left in the memory of the process that took it."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from control_harness import Client

# What the supervisor sets before it starts control (DESIGN: process hygiene).
HYGIENE = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:glibc.malloc.mmap_max=0",
}
SERVER = """
import socket, sys, trio
from control_harness import CLUSTER, control_of
from secretfs.control.api import server
from secretfs.control.api.application import api
from secretfs.crypto.keyring import Keyring
from secretfs.store.sqlite import opened
from pathlib import Path

async def main(directory):
    async with opened(directory / "store.db") as store:
        control = control_of(store, Keyring.fresh())
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory / "api.sock"))
            listener.listen()
            print("ready", flush=True)
            handler = control.handler()
            await server.serve(listener, handler, stop=trio.Event())

trio.run(main, Path(sys.argv[1]))
"""


@pytest.fixture
def server_pid(tmp_path: Path):
    environment = os.environ | HYGIENE | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", SERVER, tmp_path], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


def copies_in(pid: int, needles: list[bytes]) -> int:
    found = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, mode = line.split()[:2]
            if "r" not in mode or "[v" in line:
                continue
            start, end = (int(number, 16) for number in place.split("-"))
            memory.seek(start)
            content = memory.read(end - start)
            found += sum(content.count(needle) for needle in needles)
    return found


def pieces(data: bytes) -> list[bytes]:
    step = max(24, len(data) // 50)
    return [data[at : at + 24] for at in range(0, len(data) - 24, step)]


@pytest.mark.parametrize("size", [48, 4096, 400_000])
async def test_no_copy_of_a_value_is_left_in_control(tmp_path, server_pid, size):
    client, value = Client(tmp_path / "api.sock"), os.urandom(size)
    text = base64.b64encode(value)
    bodies = (
        {"Name": "db", "Data": text.decode()},
        {"Name": "db", "Data": text.decode()},
        {"Name": "", "Data": text.decode() + "!"},
        {"Name": "x", "Labels": [], "Data": text.decode()},
    )
    statuses = [(await client("POST", "/secrets/create", json.dumps(body).encode())).status for body in bodies]
    assert statuses == [201, 409, 400, 400]
    needles = [*pieces(value), *pieces(text)]
    assert await trio.to_thread.run_sync(copies_in, server_pid, needles) == 0
