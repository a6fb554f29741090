"""``/swarm``: what can be changed about a swarm of one node is its lock, its join tokens, and whether there is one.

Docker's client sends back the whole spec that it was given. What of it is not the lock must be what it was, or be
absent: a change that is accepted and has no effect would be a lie.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

from secretfs.control.api.docker.json import Json, canonical, decoded, mismatch, raw_fields, text_of
from secretfs.control.api.docker.query import flag, numbered_version, swarm_rotations
from secretfs.control.api.http import Request, Response, json_response
from secretfs.control.api.router import Routes
from secretfs.control.api.times import rfc3339
from secretfs.control.records.swarm import SwarmRecord
from secretfs.control.usecases.membership import Membership
from secretfs.control.usecases.node import ACTIVE
from secretfs.control.usecases.swarm import NAME, Rotations, Swarm, SwarmState
from secretfs.crypto.certificate import issuer
from secretfs.errors import BadRequestError, InvalidArgumentError, UnimplementedError

_SPEC: Final[Mapping[str, object]] = {
    "Name": NAME,
    "Labels": {},
    "Orchestration": {"TaskHistoryRetentionLimit": 5},
    "Raft": {
        "SnapshotInterval": 10000,
        "KeepOldSnapshots": 0,
        "LogEntriesForSlowFollowers": 500,
        "ElectionTick": 10,
        "HeartbeatTick": 1,
    },
    "Dispatcher": {"HeartbeatPeriod": 5_000_000_000},
    "CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000},
    "TaskDefaults": {},
}
_ENCRYPTION: Final = "EncryptionConfig"
_AUTOLOCK: Final = "AutoLockManagers"
AVAILABILITIES: Final = (ACTIVE, "pause", "drain")


class SwarmRoutes:
    """The routes of the swarm."""

    def __init__(self, swarm: Swarm, membership: Membership, node_id: str) -> None:
        self._swarm = swarm
        self._membership = membership
        self._node_id = node_id

    def routes(self) -> Routes:
        """Where they are."""
        return {
            ("GET", "/swarm"): self._inspect,
            ("POST", "/swarm/init"): self._init,
            ("POST", "/swarm/join"): self._join,
            ("POST", "/swarm/leave"): self._leave,
            ("POST", "/swarm/update"): self._update,
            ("GET", "/swarm/unlockkey"): self._unlock_key,
            ("POST", "/swarm/unlock"): self._unlock,
        }

    async def _inspect(self, _: Request, __: str) -> Response:
        return json_response(shown_swarm(self._swarm.keys.cluster_id, await self._swarm.state(), tokens=True))

    async def _init(self, request: Request, _: str) -> Response:
        self._membership.check_outside()
        fields = canonical(_whole(request), ("Spec", _AUTOLOCK, "Availability"), "InitRequest")
        spec = canonical(fields.get("Spec"), (*_SPEC, _ENCRYPTION), "Spec")
        _check_unchanged(spec)
        availability = text_of(fields, "Availability", "InitRequest") or ACTIVE
        if availability not in AVAILABILITIES:
            raise BadRequestError(f'invalid Availability: "{availability}"')
        autolock = _autolock(spec) or fields.get(_AUTOLOCK) is True
        await self._membership.init(request.peer, autolock=autolock, availability=availability)
        return json_response(self._node_id)

    async def _join(self, _: Request, __: str) -> Response:
        self._membership.check_outside()
        raise UnimplementedError("secretfs joins no other node: make a swarm of this one with 'docker swarm init'")

    async def _leave(self, request: Request, _: str) -> Response:
        await self._membership.leave(request.peer, force=flag(request, "force"))
        return Response(HTTPStatus.OK)

    async def _update(self, request: Request, _: str) -> Response:
        asked = swarm_rotations(request)
        version = numbered_version(request, "swarm")
        spec = canonical(_whole(request), (*_SPEC, _ENCRYPTION), "Spec")
        _check_unchanged(spec)
        rotations = Rotations(
            unlock_key=asked["rotateManagerUnlockKey"],
            worker=asked["rotateWorkerToken"],
            manager=asked["rotateManagerToken"],
        )
        await self._swarm.update(request.peer, version, autolock=_autolock(spec), rotate=rotations)
        return Response(HTTPStatus.OK)

    async def _unlock_key(self, request: Request, _: str) -> Response:
        unlock_key = await self._swarm.unlock_key(request.peer)
        if unlock_key is None:
            return json_response({"UnlockKey": ""})
        answer = json_response({"UnlockKey": unlock_key.text()})
        return Response(
            answer.status, answer.body, answer.headers, sent=lambda: self._swarm.was_shown(request.peer, unlock_key)
        )

    async def _unlock(self, request: Request, _: str) -> Response:
        fields = canonical(_whole(request), ("UnlockKey",), "UnlockRequest")
        await self._swarm.unlock(request.peer, text_of(fields, "UnlockKey", "UnlockRequest"))
        return Response(HTTPStatus.OK)


def shown_swarm(cluster_id: str, state: SwarmState, *, tokens: bool) -> dict[str, object]:
    """The swarm as Docker's clients get it; its tokens are in one of the two answers that hold it."""
    record = state.record
    shown: dict[str, object] = {
        "ID": cluster_id,
        "Version": {"Index": state.rev},
        "CreatedAt": rfc3339(record.created_at_ns),
        "UpdatedAt": rfc3339(record.updated_at_ns),
        "Spec": {**_SPEC, _ENCRYPTION: {_AUTOLOCK: state.autolock}},
        "TLSInfo": tls_info(record),
        "RootRotationInProgress": False,
        "DefaultAddrPool": None,
        "SubnetSize": 24,
        "DataPathPort": 4789,
    }
    return shown | ({"JoinTokens": {"Worker": record.worker, "Manager": record.manager}} if tokens else {})


def tls_info(record: SwarmRecord) -> dict[str, str]:
    """The root as Docker's clients get it."""
    root = issuer(record.root)
    return {
        "TrustRoot": record.root,
        "CertIssuerSubject": root.subject,
        "CertIssuerPublicKey": root.public_key,
    }


def _whole(request: Request) -> dict[str, object]:
    return {key: decoded(raw) for key, raw in raw_fields(request).items()}


def _autolock(spec: Json) -> bool:
    """Absent is off, as Docker reads it. Raises: BadRequestError."""
    encryption = canonical(spec.get(_ENCRYPTION), (_AUTOLOCK,), f"Spec.{_ENCRYPTION}")
    wanted = encryption.get(_AUTOLOCK)
    if wanted is not None and not isinstance(wanted, bool):
        raise mismatch(wanted, f"Spec.{_ENCRYPTION}.{_AUTOLOCK}", "bool")
    return bool(wanted)


def _check_unchanged(spec: Json) -> None:
    """Raises: InvalidArgumentError, UnimplementedError, BadRequestError."""
    if spec.get("Name") not in (None, "", NAME):
        raise InvalidArgumentError("modification of cluster name is not allowed")
    for name, value in _differing(spec):
        raise UnimplementedError(f"{name} of the swarm cannot be changed to {value!r}: secretfs has no use for it")


def _differing(spec: Json) -> Iterator[tuple[str, object]]:
    """The fields that are there, are not zero (Docker: leave it), and are not what they were."""
    for name, ours in _SPEC.items():
        theirs = spec.get(name)
        if not isinstance(ours, dict):
            continue
        known = {key.lower(): value for key, value in ours.items()}
        for key, value in canonical(theirs, tuple(ours), f"Spec.{name}").items():
            if value and value != known.get(key.lower()):
                yield f"{name}.{key}", value
