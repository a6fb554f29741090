"""The keys of this store, for as long as it is unlocked. Rule: who needs one asks here, and is refused while it is not.

Nothing of it is on the disk but the record that ``records/cluster.py`` keeps, sealed by ``crypto/lock.py``.
"""

from secretfs.crypto.keyring import Keyring
from secretfs.crypto.lock import OpenKeyring, UnlockKey, sealed, unsealed
from secretfs.crypto.rootkey import derived
from secretfs.errors import LockedError, NotInSwarmError


class Keys:
    """The root key and, unless it is locked, the keyring."""

    __slots__ = ("_opened", "_root_key", "cluster_id", "left")

    def __init__(self, root_key: bytes, cluster_id: str, opened: OpenKeyring | None) -> None:
        self.cluster_id = cluster_id
        self._root_key = root_key
        self._opened = opened
        self.left = False  # the swarm: nothing is shown or kept

    @classmethod
    def of_record(cls, record: bytes, root_key: bytes, cluster_id: str) -> "Keys":
        """As the record has them: locked, if it takes an unlock key. Raises: UnsealError: it is another root key."""
        return cls(root_key, cluster_id, unsealed(record, root_key, cluster_id))

    @property
    def locked(self) -> bool:
        """Whether the keyring is out of reach."""
        return self._opened is None

    @property
    def audit_key(self) -> bytes:
        """What the audit is chained with: it is there while the store is locked as well."""
        return derived(self._root_key, "audit", self.cluster_id)

    def check(self) -> None:
        """Raises: LockedError, NotInSwarmError."""
        if self.left:
            raise NotInSwarmError
        if self._opened is None:
            raise LockedError

    @property
    def opened(self) -> OpenKeyring:
        """The keyring and how it is locked. Raises: LockedError."""
        if self._opened is None:
            raise LockedError
        return self._opened

    @property
    def keyring(self) -> Keyring:
        """The keyring. Raises: LockedError."""
        return self.opened.keyring

    def tried(self, record: bytes, unlock_key: UnlockKey | None) -> OpenKeyring:
        """What the record holds. Raises: LockedError, WrongUnlockKeyError; UnsealError: it was changed."""
        found = unsealed(record, self._root_key, self.cluster_id, unlock_key)
        if found is None:
            raise LockedError
        return found

    def reopened(self, record: bytes) -> OpenKeyring:
        """What the record holds, with the unlock key that is known. Raises: as tried."""
        return self.tried(record, self.opened.unlock_key)

    def unlock(self, opened: OpenKeyring) -> None:
        """Have what the record holds."""
        self._opened = opened

    def leave(self, opened: OpenKeyring) -> None:
        """Have a keyring that nothing was sealed with, and show nothing."""
        self._opened, self.left = opened, True

    def enter(self, opened: OpenKeyring) -> None:
        """Have the keyring of a new swarm."""
        self._opened, self.left = opened, False

    def sealed(self, opened: OpenKeyring) -> bytes:
        """The record for it."""
        return sealed(opened, self._root_key, self.cluster_id)

    def replace(self, opened: OpenKeyring) -> None:
        """Have what is in the store now. Raises: LockedError."""
        self.check()
        self._opened = opened

    def __repr__(self) -> str:
        return f"<Keys of {self.cluster_id}, {'locked' if self.locked else 'unlocked'}>"
