"""What somebody has said about the one node. Rule: it is kept and given back, and moves no task.

Docker's scheduler would drain a node; here nothing is scheduled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secretfs.control.audit import Caller
from secretfs.control.records.codec import encode
from secretfs.control.records.swarm import NODE, NodeRecord, SwarmRecord, node_record, swarm_record
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.errors import OutOfSequenceError, PreconditionError
from secretfs.store.base import Guard, Put

ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class NodeState:
    """What an update has to be based on."""

    rev: int
    swarm: SwarmRecord
    updated_at_ns: int
    labels: Mapping[str, str]
    availability: str = ACTIVE
    name: str = ""


@dataclass(frozen=True, slots=True)
class NodeDraft:
    """What somebody says about the node."""

    labels: dict[str, str]
    availability: str
    manager: bool
    name: str


class Node:
    """The use cases of the node."""

    def __init__(self, commits: Commits, node_id: str, hostname: str) -> None:
        self._commits = commits
        self._store = commits.store
        self.id = node_id
        self.hostname = hostname

    async def state(self) -> NodeState:
        """As it is now. Raises: CorruptRecordError, StoreError."""
        said = await node_record(self._store)
        swarm = await swarm_record(self._store, self._commits.now_ns())
        if said is None:
            return NodeState(swarm.rev, swarm.value, swarm.value.created_at_ns, {})
        value = said.value
        return NodeState(said.rev, swarm.value, value.updated_at_ns, value.labels, value.availability, value.name)

    async def update(self, caller: Caller, rev: int, draft: NodeDraft) -> None:
        """Keep what is said about the node as of revision rev.

        Raises: PreconditionError, OutOfSequenceError, StoreFullError.
        """

        async def decide() -> Change[None]:
            old = await self.state()
            if old.rev != rev:
                raise OutOfSequenceError("update out of sequence")
            if not draft.manager:
                raise PreconditionError("attempting to demote the last manager of the swarm")
            said = await node_record(self._store)
            new = NodeRecord(self._commits.now_ns(), draft.labels, draft.availability, draft.name)
            changed = old.availability != new.availability
            changes = {"availability": (old.availability, new.availability)} if changed else {}
            act = Act("node update", "node", self.id, self.hostname, {"Availability": new.availability}, changes)
            return Change([Guard(NODE, said.rev if said else 0)], [Put(NODE, encode(new))], act, None)

        await self._commits.change(caller, decide)

    async def check_removable(self) -> None:
        """Raises: PreconditionError, always: this node is the swarm."""
        raise PreconditionError(
            f"node {self.id} is a cluster manager and is a member of the raft cluster. "
            "It must be demoted to worker before removal"
        )
