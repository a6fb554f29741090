"""The plan of a node: which files a tree should have, and the effects that lead there. Rule: flush first.

A grant that goes is a revocation, so its file goes first; only then do targets change or appear. Targets of
the same tree never conflict: a file is not the directory of another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from secretfs.core.grant import Grant, TargetSet, attachable
from secretfs.core.names import Kind, ObjectId
from secretfs.core.secret import DRAIN_MS, Secret, Version

MODE_BITS = 0o777  # Docker stores more and applies these


@dataclass(frozen=True, slots=True)
class VersionRef:
    """One version of one object: what a slot of the arena holds."""

    object_id: ObjectId
    number: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree: ``<kind>s/<target>``.

    ``drain_ms`` says how it comes, not what it is: how long the version that it replaces may be read on.
    """

    kind: Kind
    target: str
    uid: int
    gid: int
    mode: int
    content: VersionRef
    size: int  # bytes
    drain_ms: int = field(default=DRAIN_MS, compare=False)


Tree = Mapping[tuple[Kind, str], Entry]


@dataclass(frozen=True, slots=True)
class Flush:
    """Take the file out and wipe it: opens and reads of open descriptors fail from here."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Replace:
    """Same path, same inode, never absent; owner, mode or content change."""

    old: Entry
    new: Entry

    @property
    def drain_ms(self) -> int:
        """How long open descriptors keep the old bytes: no time, but for another version of the same object.

        Another object at the same target: the old grant is gone, its descriptors are refused at once.
        """
        old, new = self.old.content, self.new.content
        return self.new.drain_ms if old.object_id == new.object_id and old.number != new.number else 0

    @property
    def revokes(self) -> bool:
        """Whether the old grant is gone, with every version that only drains."""
        return self.old.content.object_id != self.new.content.object_id


@dataclass(frozen=True, slots=True)
class Expose:
    """Put the file in."""

    entry: Entry


Effect = Flush | Replace | Expose


def tree_of(entries: Iterable[Entry]) -> Tree:
    """The tree that has exactly these files."""
    return {(entry.kind, entry.target): entry for entry in entries}


def desired_tree(grants: Iterable[Grant], objects: Mapping[ObjectId, Secret]) -> Tree:
    """The tree that these grants ask for: of each object the newest version, or the pinned one.

    Left out is what cannot be shown: an object or pinned version that is gone, an absolute target, and a
    target that conflicts with an earlier grant (a service may change under a task that has ad-hoc grants
    too).
    """
    taken = {kind: TargetSet() for kind in Kind}
    return tree_of(
        entry
        for grant in grants
        if attachable(grant.target)
        and (entry := _entry(grant, objects.get(grant.object_id))) is not None
        and taken[grant.kind].add(grant.target) is None
    )


def difference(current: Tree, desired: Tree) -> tuple[Effect, ...]:
    """What leads from one tree to the other: each Flush, then each Replace, then each Expose; by path."""
    flushes = tuple(Flush(current[key]) for key in _sorted(current.keys() - desired.keys()))
    replaces = tuple(
        Replace(current[key], desired[key])
        for key in _sorted(current.keys() & desired.keys())
        if current[key] != desired[key]
    )
    exposes = tuple(Expose(desired[key]) for key in _sorted(desired.keys() - current.keys()))
    return (*flushes, *replaces, *exposes)


def _entry(grant: Grant, secret: Secret | None) -> Entry | None:
    if secret is None or secret.kind is not grant.kind:
        return None
    version = _version(secret, grant.version)
    if version is None:
        return None
    content = VersionRef(secret.id, version.number)
    mode = grant.mode & MODE_BITS
    drain_ms = version.drain_ms if grant.version is None else DRAIN_MS  # moving a pin is no update
    return Entry(grant.kind, grant.target, grant.uid, grant.gid, mode, content, version.size, drain_ms)


def _version(secret: Secret, pin: int | None) -> Version | None:
    if pin is None:
        return secret.newest
    return next((version for version in secret.versions if version.number == pin), None)


def _sorted(keys: Iterable[tuple[Kind, str]]) -> list[tuple[Kind, str]]:
    return sorted(keys, key=lambda key: (key[0].value, key[1]))
