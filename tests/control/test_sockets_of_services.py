"""The directory of a service's socket is a container's as well: what its root puts there is not followed."""

import os
import stat
import sys
from pathlib import Path

import pytest
from control_harness import until

from secretfs.control.frontends import attach
from secretfs.control.frontends.service_sockets import ServiceSockets

_intruders: list["Intruder"] = []


@sys.addaudithook
def _between_two_acts(event: str, _: tuple) -> None:
    if event.startswith("os."):
        for intruder in _intruders:
            intruder.look()


class Intruder:
    """Puts a link where it finds a new socket, between two acts of control."""

    def __init__(self, new: Path, victim: Path) -> None:
        self._new = new
        self._victim = victim
        self.done = False
        self._looking = False

    def look(self) -> None:
        if not (self.done or self._looking):
            self._looking = True
            if self._new.is_socket():
                self._new.unlink()
                self._new.symlink_to(self._victim)
                self.done = True
            self._looking = False


@pytest.fixture
async def sockets(control, tmp_path, nursery):
    """The directory in which every service gets its socket; control's umask is as in control/main.py."""
    directory = tmp_path / "services"
    directory.mkdir()
    fd, umask = os.open(directory, os.O_RDONLY | os.O_DIRECTORY), os.umask(0o077)
    await control.secret("db")
    served = ServiceSockets(fd, control.store, attach.Frontend(control.tasks, control.broker))
    await nursery.start(served.run)
    yield directory
    os.umask(umask)
    os.close(fd)


async def test_everybody_who_sees_the_socket_may_use_it_and_nothing_else_changes_its_mode(control, sockets):
    await control.service("web", "db")
    await until((sockets / "web" / "attach.sock").exists)
    assert stat.S_IMODE((sockets / "web" / "attach.sock").stat().st_mode) == 0o666
    assert stat.S_IMODE((sockets / "web").stat().st_mode) == 0o755
    (sockets.parent / "file").touch()
    assert stat.S_IMODE((sockets.parent / "file").stat().st_mode) == 0o600, "the umask is what it was"


async def test_a_link_in_the_place_of_the_new_socket_leads_control_nowhere(control, sockets, tmp_path):
    victim = tmp_path / "victim"
    victim.touch(mode=0o600)
    intruder = Intruder(sockets / "web" / ".attach.sock", victim)
    _intruders.append(intruder)
    try:
        await control.service("web", "db")
        await until((sockets / "web" / "attach.sock").exists)
    finally:
        _intruders.remove(intruder)
    assert intruder.done
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
