"""Small real processes in the place of fs and control."""

import os
import stat
import sys
from types import SimpleNamespace

import pytest

from secretfs.supervisor import child
from secretfs.supervisor.child import Child

PROGRAM = """
import ctypes, os, signal, socket, sys, threading
what, end = sys.argv[3], socket.socket(fileno=int(sys.argv[4]))
end.setblocking(True)
if what == "answers":
    while packet := end.recv(8192):
        if packet[:1] == b"\\1":
            end.send(b"\\2" + packet[1:])
elif what == "exits":
    sys.exit(int(sys.argv[5]))
elif what == "environment":
    end.send(repr((dict(os.environ), sys.argv[1:4], os.getcwd(), os.getsid(0))).encode())
    end.recv(1)
elif what == "garbage":
    end.send(b"garbage")
    socket.send_fds(end, [b"more"], [0, 0])
    end.recv(1)
elif what == "leader goes":
    thread = threading.Thread(target=os.read, args=[os.pipe()[0], 1])
    thread.start()
    ctypes.CDLL(None).syscall(60, 0)
else:
    end.send(b"\\3")
    signal.pause()
"""


@pytest.fixture
def clock(monkeypatch):
    """The time that Child sees: ``clock.now``."""
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(child, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Start a child that behaves so."""
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -SE {tmp_path}/program.py "$@"\n')
    (tmp_path / "program.py").write_text(PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    children = []

    def start(what: str, *words: str, fds=()) -> Child:
        children.append(Child.started(what, words, fds))
        return children[-1]

    yield start
    for made in children:
        made._process.kill()
        made._process.wait()
        made.end.close()
        if made.pidfd >= 0:
            try:
                os.close(made.pidfd)
            except OSError:
                continue
