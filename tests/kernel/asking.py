"""Requests to a daemon whose processes are killed meanwhile: asked again until one is acknowledged."""

import contextlib
import http.client
import json
import time
from collections.abc import Callable

from daemons import Daemon, Unix

PATIENCE_SECONDS = 30.0


class Asker:
    """Who does not give up."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def until_acknowledged(self, asked: Callable[[], tuple[str, str, object]]):
        """The answer; asked again when the daemon was killed over it, or when its earlier self had done it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(http.client.HTTPException, ConnectionError, TimeoutError):
                status, answer = self._answer(*asked())
                if status < 300:
                    return answer
                assert status == 503 or "out of sequence" in str(answer), (status, answer)
        raise AssertionError("nothing is acknowledged any more")

    def ask(self, method: str, path: str, body: object = None):
        """The answer to one that may be done twice."""
        return self.until_acknowledged(lambda: (method, path, body))

    def rotate(self, secret: str, data: str, drain: int | None = None):
        """A new version, in base64."""
        body = {"Data": data, **({} if drain is None else {"Drain": drain})}
        return self.ask("POST", f"/secretfs/v1/secrets/{secret}/versions", body)

    def grant(self, service: str, names: dict[str, str]):
        """Grant the service exactly these: target → name of a secret."""
        return self.until_acknowledged(lambda: self._granting(service, names))

    def _granting(self, service: str, names: dict[str, str]) -> tuple[str, str, object]:
        ids = {found["Spec"]["Name"]: found["ID"] for found in self.ask("GET", "/secrets")}
        found = self.ask("GET", f"/services/{service}")
        file = {"UID": "0", "GID": "0", "Mode": 0o444}
        found["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"] = [
            {"File": {"Name": target, **file}, "SecretID": ids[name], "SecretName": name}
            for target, name in names.items()
        ]
        return "POST", f"/services/{found['ID']}/update?version={found['Version']['Index']}", found["Spec"]

    def _answer(self, method: str, path: str, body: object) -> tuple:
        with contextlib.closing(Unix(str(self._daemon.runtime / "api.sock"))) as connection:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
