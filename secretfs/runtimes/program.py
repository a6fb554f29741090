"""The program that takes our place. The rule: it finds everything as if it had been started without us.

Python changes three things at its start that a program would inherit: it ignores SIGPIPE and SIGXFSZ, catches
SIGINT, and where the locale is C sets LC_CTYPE (PEP 538). All three are put back.
"""

import _signal as signal  # type: ignore[import-not-found]  # without the enumerations of signal.py, which take time
import errno
import os
from collections.abc import Mapping, Sequence

from secretfs.errors import AttachError, ProgramNotExecutableError, ProgramNotFoundError

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def die_of_interrupts() -> None:
    """Let Ctrl-C end this process like any other. Where SIGINT was ignored (nohup, a shell's ``&``) it stays
    ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment() -> dict[bytes, bytes]:
    """The environment as this process got it."""
    current = dict(os.environb)
    given = _given_locale()
    current.pop(b"LC_CTYPE", None)
    if given is not None:
        current[b"LC_CTYPE"] = given
    return current


def found(command: str) -> str:
    """The path of the program, looked up in PATH when it has no slash.

    Raises: ProgramNotFoundError; ProgramNotExecutableError, when all that was found cannot be run.
    """
    if "/" in command:
        return _executable([command], command)
    directories = os.get_exec_path()
    return _executable([os.path.join(directory, command) for directory in directories if command], command)


def exec_in_place(path: str, command: Sequence[str], env: Mapping[bytes, bytes]) -> "NoReturn":
    """Become the program at path with command as its arguments. Comes back only by an exception:

    Raises: ProgramNotFoundError, ProgramNotExecutableError.
    """
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, list(command), env)  # noqa: S606 - no shell is the point
    except OSError as exc:
        raise _failure(path, exc) from None


def _executable(candidates: Sequence[str], command: str) -> str:
    refused: list[str] = []
    for path in candidates:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
        if os.path.lexists(path):
            refused.append(path)
    raise _refusal(refused[0]) if refused else _not_found(command)


def _refusal(path: str) -> AttachError:
    if os.path.isdir(path):
        return ProgramNotExecutableError(f"cannot run {path}: it is a directory")
    if not os.path.exists(path):
        return ProgramNotFoundError(f"program {path} not found: it is a link to nothing")
    failure = ProgramNotExecutableError(f"cannot run {path}: it is not executable")
    failure.add_note(f"chmod +x {path}")
    return failure


def _not_found(command: str) -> AttachError:
    if "/" in command:
        return ProgramNotFoundError(f"program {command} not found")
    failure = ProgramNotFoundError(f"program {command!r} not found in PATH")
    failure.add_note("give its path, or set PATH")
    return failure


def _failure(path: str, exc: OSError) -> AttachError:
    if exc.errno == errno.ENOENT and not os.path.lexists(path):
        return _not_found(path)
    reason = {
        errno.ENOENT: "the interpreter that it names is not there",
        errno.ENOEXEC: "it is no program, and no script that begins with #!",
        errno.EACCES: f"uid {os.geteuid()} may not",
    }.get(exc.errno or 0, exc.strerror)
    return ProgramNotExecutableError(f"cannot run {path}: {reason}")


def _given_locale() -> bytes | None:
    """LC_CTYPE as it was before Python started, from /proc/self/environ (which setenv does not change)."""
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            initial = file.readall().split(b"\0")
    except OSError:
        return os.environb.get(b"LC_CTYPE")
    return next((entry[9:] for entry in initial if entry.startswith(b"LC_CTYPE=")), None)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn
