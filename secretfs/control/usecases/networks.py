"""Networks: create, look at, remove. Rule: they are there so that ``docker stack deploy`` finds what it has made."""

from collections.abc import Iterator, Mapping

from secretfs.control.audit import Caller
from secretfs.control.records.codec import encode
from secretfs.control.records.lookup import Found, every, find
from secretfs.control.records.networks import NETWORKS
from secretfs.control.records.services import SERVICES
from secretfs.control.usecases.commits import Act, Change, Commits
from secretfs.core.names import NetworkId
from secretfs.core.network import Network, check_network_unused, parse_network_name
from secretfs.core.service import JsonObject
from secretfs.errors import ConflictError
from secretfs.store.base import Del, Guard, Put


class Networks:
    """The use cases of networks."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._store = commits.store

    async def create(self, caller: Caller, text: str, labels: Mapping[str, str], spec: JsonObject) -> NetworkId:
        """Keep one under this name. Raises: InvalidNameError, ConflictError, StoreFullError."""
        name = parse_network_name(text)
        network = Network(NetworkId(self._commits.new_id()), name, dict(labels), self._commits.now_ns(), spec)

        async def decide() -> Change[NetworkId]:
            if await self._store.get(NETWORKS.name_key(name)) is not None:
                raise ConflictError(f"network with name {name} already exists")
            key = NETWORKS.key(network.id)
            guards = (Guard(NETWORKS.name_key(name), 0), Guard(key, 0))
            ops = (Put(NETWORKS.name_key(name), encode(network.id)), Put(key, encode(network)))
            return Change(guards, ops, _act("create", network), network.id)

        return await self._commits.change(caller, decide)

    async def inspect(self, reference: str) -> Found[Network]:
        """The one that is meant. Raises: NotFoundError, AmbiguousError, CorruptRecordError."""
        return await find(self._store, NETWORKS, reference)

    async def listed(self) -> list[Found[Network]]:
        """All of them."""
        return await every(self._store, NETWORKS)

    async def remove(self, caller: Caller, reference: str) -> None:
        """Forget it. Raises: PreconditionError when a service names it, and as inspect."""

        async def decide() -> Change[None]:
            found = await find(self._store, NETWORKS, reference)
            network = found.value
            services = [service.value for service in await every(self._store, SERVICES)]
            named = {network.id, network.name}
            check_network_unused(network, (one.id for one in services if named & set(_networks(one.spec))))
            key = NETWORKS.key(network.id)
            ops = (Del(key), Del(NETWORKS.name_key(network.name)))
            return Change((Guard(key, found.rev),), ops, _act("rm", network), None)

        await self._commits.change(caller, decide)


def _networks(spec: JsonObject) -> Iterator[str]:
    """The networks that Docker's spec of a service names, by id or name."""
    task = spec.get("TaskTemplate")
    for part in (spec, task if isinstance(task, Mapping) else {}):
        networks = part.get("Networks")
        for network in networks if isinstance(networks, list) else ():
            if isinstance(network, Mapping) and isinstance(network.get("Target"), str):
                yield network["Target"]


def _act(verb: str, network: Network) -> Act:
    return Act(f"network {verb}", "network", network.id, network.name)
