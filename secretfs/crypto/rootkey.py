"""Where the root key comes from. Rule: 32 bytes, from a place that only its owner can read, or a refusal.

A refusal says what to do about it, and never what the source gave.
A key is 32 raw bytes, or their hex or base64 text; white space around a text does not count.
"""

import base64
import binascii
import os
import secrets
import shlex
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from secretfs.crypto.envelope import KEY_BYTES, associated_data, fields
from secretfs.errors import RootKeyError

EXEC_SECONDS: Final = 30  # a program that asks a cloud service answers within this, or never
_MAX_KEY_FILE_BYTES: Final = 4096  # no encoding of 32 bytes is longer
_PRIVATE: Final = 0o077  # mode bits that must not be set


def root_key(spec: str, *, create: bool) -> bytes:
    """The 32-byte root key of ``file:PATH``, ``credential:NAME`` or ``exec:PROGRAM [ARGUMENT ...]``.

    ``create``: a file that does not exist is made, with its parent directory, and is on the disk when this
    returns. Blocks, for ``exec:`` up to 30 seconds. Raises: RootKeyError; the text never holds what the
    source gave.
    """
    scheme, colon, rest = spec.partition(":")
    if scheme == "file" and colon and create and rest and not os.path.lexists(rest):
        _create(Path(rest))
    source = _SOURCES.get(scheme)
    if source is None or not colon or not rest:
        raise RootKeyError(f"root key source {spec!r} is none of file:PATH, credential:NAME, exec:PROGRAM")
    return _decoded(source(rest), spec)


def derived(key: bytes, purpose: str, cluster_id: str) -> bytes:
    """A key of 32 bytes for one purpose in one cluster; it says nothing of the root key."""
    return HKDFExpand(SHA256(), KEY_BYTES, associated_data(purpose, fields(cluster_id.encode()))).derive(key)


def _decoded(data: bytes, spec: str) -> bytes:
    if len(data) == KEY_BYTES:
        return data
    text = data.strip()
    for decode in (binascii.unhexlify, _base64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == KEY_BYTES:
            return key
    raise RootKeyError(f"root key source {spec!r} gave {len(data)} bytes, not a key of 32 bytes raw, hex or base64")


def _base64(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def _from_file(text: str) -> bytes:
    path = Path(text)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise RootKeyError(f"root key file {text!r} does not exist: restore it from a backup") from None
    except OSError as exc:
        raise RootKeyError(f"root key file {text!r} cannot be opened: {exc.strerror}") from None
    try:
        _check_private(os.fstat(fd), text)
        _check_parent(path)
        return os.read(fd, _MAX_KEY_FILE_BYTES)
    finally:
        os.close(fd)


def _check_private(status: os.stat_result, text: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RootKeyError(f"root key file {text!r} is not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise RootKeyError(f"root key file {text!r} belongs to uid {status.st_uid}: chown it to root")
    if status.st_mode & _PRIVATE:
        mode = stat.S_IMODE(status.st_mode)
        raise RootKeyError(f"root key file {text!r} is open to others (mode {mode:04o}): chmod 0600 {text}")


def _check_parent(path: Path) -> None:
    """Who can write the directory can put another key in the place of this one."""
    mode = path.parent.stat().st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        raise RootKeyError(
            f"the directory of root key file {str(path)!r} can be written by others "
            f"(mode {stat.S_IMODE(mode):04o}): chmod go-w {path.parent}"
        )


def _create(path: Path) -> None:
    """Make the key file so that it has all of a key or does not exist, whoever does the same meanwhile."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_synced(draft, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another start was quicker: its key is the key
        finally:
            draft.unlink()
        _sync_directory(path.parent)
    except OSError as exc:
        raise RootKeyError(f"root key file {str(path)!r} cannot be made: {exc.strerror}") from None


def _write_synced(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _from_credential(name: str) -> bytes:
    """A credential of the systemd unit: systemd.exec(5), LoadCredential."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise RootKeyError(
            f"root key credential {name!r}: $CREDENTIALS_DIRECTORY is not set: "
            f"add LoadCredentialEncrypted={name} to the systemd unit"
        )
    if "/" in name or name in (".", ".."):
        raise RootKeyError(f"root key credential {name!r} is not a credential's name")
    try:
        with (Path(directory) / name).open("rb") as file:
            return file.read(_MAX_KEY_FILE_BYTES)
    except OSError as exc:
        raise RootKeyError(f"root key credential {name!r} cannot be read: {exc.strerror}") from None


def _from_program(command: str) -> bytes:
    """What the program prints; no shell. Its messages go where the daemon's go."""
    try:
        words = shlex.split(command)
        if not words:
            raise ValueError("no program")
        ended = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=EXEC_SECONDS, check=False
        )
    except OSError as exc:
        raise RootKeyError(f"root key program {command!r} cannot be started: {exc.strerror}") from None
    except subprocess.TimeoutExpired:
        raise RootKeyError(f"root key program {command!r} gave no answer in {EXEC_SECONDS} seconds") from None
    except ValueError:
        raise RootKeyError(f"root key program {command!r} is not a command line") from None
    if ended.returncode:
        how = f"exit code {ended.returncode}" if ended.returncode > 0 else f"signal {-ended.returncode}"
        raise RootKeyError(f"root key program {command!r} failed with {how}")
    return ended.stdout


_SOURCES: Final[dict[str, Callable[[str], bytes]]] = {
    "file": _from_file,
    "credential": _from_credential,
    "exec": _from_program,
}
