"""A secretfs daemon in directories of its own, and what is asked of it."""

import base64
import contextlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.api import Api
from benchmarks.report import BenchError
from benchmarks.work import Work, descendants, pin, pinned, run, running

PROGRAM: Final = str(Path(sys.executable).with_name("secretfs"))


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that is ready."""

    pid: int
    runtime: Path

    @property
    def host(self) -> str:
        """What --host takes."""
        return f"unix://{self.runtime}/api.sock"

    @property
    def words(self) -> list[str]:
        """The begin of a command line for it."""
        return [PROGRAM, "--host", self.host]

    @property
    def attach_socket(self) -> str:
        """Where tasks begin."""
        return str(self.runtime / "attach.sock")

    def api(self) -> Api:
        """A new connection."""
        return Api(str(self.runtime / "api.sock"))

    def pids(self) -> list[int]:
        """All its processes."""
        return descendants(self.pid)

    def pin(self, processors: Collection[int]) -> None:
        """Keep all its threads to these from now on. How long it spins was decided when it started."""
        for pid in self.pids():
            pin(pid, processors)


@contextlib.contextmanager
def daemon(work: Work, name: str, processors: Collection[int] | None = None, *options: str) -> Iterator[Daemon]:
    """A daemon with an empty store; kept to these processors from its start."""
    root = work.new_directory(name)
    places = ["--state-dir", f"{root}/state", "--runtime-dir", f"{root}/run", "--root-key", f"file:{root}/key/root.key"]
    log = root / "log"
    command = pinned(processors or os.sched_getaffinity(0), PROGRAM, "daemon", *places, *options)
    with running(command, log) as process:
        found = Daemon(process.pid, root / "run")
        try:
            run([*found.words, "wait"])
        except BenchError as exc:
            raise BenchError(f"secretfs is not ready: {exc}\n{log.read_text()[-600:]}") from None
        yield found


def create_secret(api: Api, name: str, value: bytes) -> str:
    """Its id."""
    found = api.json("POST", "/secrets/create", {"Name": name, "Data": base64.b64encode(value).decode()})
    return str(found["ID"])


def create_service(api: Api, name: str, grants: Mapping[str, tuple[str, str]]) -> str:
    """A service's id. grants: target → name and id of its secret."""
    return str(api.json("POST", "/services/create", service_spec(name, grants))["ID"])


def service_spec(name: str, grants: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    """As Docker's clients send it."""
    secrets = [
        {"File": {"Name": target, "UID": "0", "GID": "0", "Mode": 0o444}, "SecretID": secret_id, "SecretName": secret}
        for target, (secret, secret_id) in grants.items()
    ]
    return {"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "none", "Secrets": secrets}}}
