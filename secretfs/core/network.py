"""A network: a record that Docker's clients make, read and remove. Rule: nothing is ever connected to one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from secretfs.core.names import NetworkId, ServiceId, ServiceName, parse_service_name
from secretfs.core.service import JsonObject
from secretfs.errors import BadRequestError, PreconditionError


@dataclass(frozen=True, slots=True)
class Network:
    """``spec`` is what was asked for, as it was sent."""

    id: NetworkId
    name: ServiceName  # the rule of names is that of services
    labels: Mapping[str, str]
    created_at_ns: int
    spec: JsonObject


def parse_network_name(text: str) -> ServiceName:
    """The name of a network. Raises: BadRequestError, InvalidNameError, with Docker's texts."""
    if not text:
        raise BadRequestError("invalid name: ")
    return parse_service_name(text)


def check_network_unused(network: Network, users: Iterable[ServiceId]) -> None:
    """Refuse the removal of a network that a service names. Raises: PreconditionError, with Docker's text."""
    for service_id in users:
        raise PreconditionError(f"network {network.id} is in use by service {service_id}")
