"""``secretfs run``: this process becomes the program, with its secrets mounted. The rule: all or nothing, in
place.

Same pid, same descriptors, same environment and signals as without secretfs in front; so there is nothing to
forward and the exit code is the program's own. The task is this process: whatever goes wrong, ending is
enough for the daemon to clean up.
"""

import os
from collections.abc import Callable, Mapping, Sequence

from secretfs.errors import AttachError, UsageError
from secretfs.linux import process
from secretfs.runtimes import connection, identity, program, rootless, tree, variables


def _silent(_text: str, _hints: Sequence[str]) -> None:
    return


def run(
    command: Sequence[str],
    *,
    socket_path: str,
    request: Mapping[str, object],
    target_dir: str,
    user: str | None = None,
    file_vars: bool = False,
    allow_new_privileges: bool = False,
    warn: "Callable[[str, Sequence[str]], None]" = _silent,
) -> "NoReturn":
    """Become command, as a task of the daemon at socket_path. request holds Service, Secrets, Configs and
    UntilLeader of the first message. warn gets what the user should know though nothing is wrong: a text, and what
    to do.

    Raises: UsageError for a wrong argument; ProgramNotFoundError, ProgramNotExecutableError; AttachError for
    all else. The program has not started then.
    """
    program.die_of_interrupts()
    directory = absolute(target_dir)
    who = None if user is None else _allowed(identity.parse_user(user))
    path = program.found(command[0])
    environment = program.environment()
    tree.check_place(directory)
    ids = _entered(socket_path)
    daemon, answer = connection.attached(socket_path, {**request, "TargetDir": directory})
    with daemon:
        if file_vars:
            environment.update(variables.file_variables(answer.files, directory))
        configs = any(file["Kind"] == "config" for file in answer.files)
        unprivileged = tree.put_in_place(answer.trees, directory, ids, configs=configs)
        connection.mounted(daemon)
    if unprivileged:
        _warn_of_closed(tree.paths(answer.files, directory), warn)
    if not allow_new_privileges:
        process.set_no_new_privs()
    if who is not None:
        _become(who)
    program.exec_in_place(path, command, environment)


def absolute(target_dir: str) -> str:
    """The target directory without doubled slashes. Raises: UsageError when it is relative, or goes up, or is
    the root.
    """
    parts = [part for part in target_dir.split("/") if part not in ("", ".")]
    if not target_dir.startswith("/"):
        raise _refusal(target_dir, "it is not absolute")
    if ".." in parts:
        raise _refusal(target_dir, "it has a '..' in it")
    if not parts:
        raise _refusal(target_dir, "it would hide everything else")
    return "/" + "/".join(parts)


def _refusal(target_dir: str, reason: str) -> UsageError:
    refusal = UsageError(f"invalid target directory {target_dir!r}: {reason}")
    refusal.add_note("give a path that begins with /, as in --target-dir /run/secrets")
    return refusal


def _allowed(who: identity.Identity) -> identity.Identity | None:
    """Who to become; None for who we are. Raises: AttachError."""
    ours = os.geteuid(), os.getegid()
    if ours[0] == 0:
        return who
    if (who.uid, who.gid) == ours:
        return None
    failure = AttachError(f"uid {ours[0]} cannot become uid {who.uid}, gid {who.gid}: only root may")
    failure.add_note("leave out --user, or run it as root")
    raise failure


def _entered(socket_path: str) -> tuple[int, int] | None:
    """Our uid and gid, when the daemon is one of our own and its user namespace had to be entered: we are 0 there."""
    ids = os.geteuid(), os.getegid()
    try:
        return ids if rootless.enter_daemons(socket_path) else None
    except OSError as exc:
        raise AttachError(f"cannot enter the user namespace of the daemon: {exc.strerror}") from None


def _warn_of_closed(paths: Sequence[str], warn: Callable[[str, Sequence[str]], None]) -> None:
    """Root reads every file of its task; who is not root may find some closed, and their owners shown as 65534."""
    closed = [path for path in paths if not os.access(path, os.R_OK)]
    if closed:
        more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
        warn(
            f"uid {os.geteuid()} cannot read {closed[0]}{more}",
            [f"grant it with uid={os.geteuid()}, with the gid of one of your groups and mode=0440, or with mode=0444"],
        )


def _become(who: identity.Identity) -> None:
    try:
        process.drop_to(who.uid, who.gid, who.groups)
    except OSError as exc:
        raise AttachError(f"cannot become uid {who.uid}, gid {who.gid}: {exc.strerror}") from None


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn
