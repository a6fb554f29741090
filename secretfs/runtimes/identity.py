"""Who the program runs as. The rule: resolved against this host before anything is attached; nothing is
guessed.
"""

import os

from secretfs.errors import AttachError, UsageError

MAX_ID = 2**32 - 2  # (uid_t)-1 means "leave as it is" in setresuid(2)


class Identity:
    """A uid, a gid and all groups, as numbers."""

    __slots__ = ("gid", "groups", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int]) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups


def parse_user(text: str) -> Identity:
    """``NAME``, ``UID``, ``NAME:GROUP`` or ``UID:GID``; without a group the user's own. The supplementary
    groups are those that the host's databases give the user, see initgroups(3).

    Raises: UsageError for what is neither; AttachError for a user or group that this host does not know.
    """
    user, colon, group = text.partition(":")
    if not user or (colon and not group) or ":" in group:
        malformed = UsageError(f"invalid user {text!r}")
        malformed.add_note("give a name or uid, and after a colon a group: --user redis, --user 103:103")
        raise malformed
    name, uid, gid = _user(user)
    if group:
        gid = _gid(group)
    if gid is None:
        failure = AttachError(f"user {uid} is not in this host's user database, so its group is not known")
        failure.add_note(f"give the group as well: --user {uid}:GID")
        raise failure
    return Identity(uid, gid, os.getgrouplist(name, gid) if name else [gid])


def _user(text: str) -> tuple[str | None, int, int | None]:
    """Name, uid and gid; a number needs no entry, and has no name and no group then."""
    import pwd

    try:
        entry = pwd.getpwuid(_number(text)) if _decimal(text) else pwd.getpwnam(text)
    except KeyError:
        if _decimal(text):
            return None, _number(text), None
        raise AttachError(f"user {text!r} not found on this host") from None
    return entry.pw_name, entry.pw_uid, entry.pw_gid


def _gid(text: str) -> int:
    import grp

    if _decimal(text):
        return _number(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise AttachError(f"group {text!r} not found on this host") from None


def _decimal(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str) -> int:
    if len(text) > len(str(MAX_ID)) or int(text) > MAX_ID:
        raise UsageError(f"invalid user: {text} is not in 0..{MAX_ID}")
    return int(text)
