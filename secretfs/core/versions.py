"""Who holds which version of a value. Rule: a version that anybody may still read, or go back to, is not destroyed.

In use is the newest one; one that a service's spec pins, or its previous spec, which a rollback brings back; one that a
running task pins or shows; and one that a task may have open still, until its drain is over.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from secretfs.core.grant import Grant
from secretfs.core.names import TaskId
from secretfs.core.plan import VersionRef
from secretfs.core.secret import Secret, Version
from secretfs.core.service import Service
from secretfs.core.task import Task

_MS = 1_000_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Held:
    """A running task shows the version, or has shown it and lets open descriptors read on until then."""

    task: TaskId
    content: VersionRef
    until_ns: int | None = None  # since 1970


@dataclass(frozen=True, slots=True)
class VersionUse:
    """One version and everybody who holds it; names are in the order in which they were given."""

    version: Version
    newest: bool
    services: tuple[str, ...]  # by a grant that follows the newest version
    pinned_by: tuple[str, ...]
    tasks: tuple[TaskId, ...]
    draining: tuple[Held, ...]

    @property
    def safe(self) -> bool:
        """Whether nobody would miss it."""
        return not (self.newest or self.pinned_by or self.tasks or self.draining)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not safe to destroy."""
        return (
            *(("it is the newest",) if self.newest else ()),
            *(f"{who} pins it" for who in self.pinned_by),
            *(f"task {task} reads it" for task in self.tasks),
            *(f"task {held.task} may have it open" for held in self.draining),
        )


def version_uses(
    secret: Secret, services: Iterable[Service], tasks: Iterable[Task], held: Iterable[Held]
) -> tuple[VersionUse, ...]:
    """All versions in rising order, each with who uses it."""
    services, tasks, held = tuple(services), tuple(tasks), tuple(held)
    return tuple(_use(secret, version, services, tasks, held) for version in secret.versions)


def draining(secret: Secret, shown: int, since_ns: int) -> Iterator[tuple[int, int]]:
    """Versions before the one shown that whoever came then may have open still: their numbers, and until when.

    That time may be over. No version is drained for longer than any that came after it allows.
    """
    for at, version in enumerate(secret.versions):
        later = [one for one in secret.versions[at + 1 :] if one.number <= shown]
        if later and since_ns < later[0].created_at_ns:
            yield version.number, min(one.created_at_ns + one.drain_ms * _MS for one in later)


def _use(
    secret: Secret, version: Version, services: tuple[Service, ...], tasks: tuple[Task, ...], held: tuple[Held, ...]
) -> VersionUse:
    newest = version == secret.newest
    content = VersionRef(secret.id, version.number)
    mine = [one for one in held if one.content == content]
    showing = {one.task for one in mine if one.until_ns is None}
    pinned_by = (
        *(f"service {service.name}" for service in services if _pins(service.grants, content)),
        *(
            f"the previous spec of service {service.name}"
            for service in services
            if _pins(service.previous_grants, content)
        ),
        *(f"task {task.id}" for task in tasks if _pins(task.grants, content)),
    )
    return VersionUse(
        version,
        newest,
        tuple(service.name for service in services if newest and _follows(service.grants, secret)),
        pinned_by,
        tuple(sorted(showing)),
        tuple(one for one in mine if one.task not in showing),
    )


def _pins(grants: Iterable[Grant], content: VersionRef) -> bool:
    return any(VersionRef(grant.object_id, grant.version or 0) == content for grant in grants)


def _follows(grants: Iterable[Grant], secret: Secret) -> bool:
    return any(grant.object_id == secret.id and grant.version is None for grant in grants)
