"""Which daemon is meant. Rule: as docker says it, ``unix:///path``; who says nothing means his own, else root's."""

import os

from secretfs.errors import UsageError

DEFAULT_HOST = "unix:///run/secretfs/api.sock"
MAX_SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less its NUL


def host_of(arguments: object) -> str:
    """The daemon that the user means: ``--host``, else SECRETFS_HOST, else the user's own if there is one, else the
    default.
    """
    host: str = getattr(arguments, "host", None) or os.environ.get("SECRETFS_HOST") or _own_host() or DEFAULT_HOST
    return host


def own_runtime_dir() -> str | None:
    """Where ``secretfs daemon --rootless`` has its sockets; None when this session has no place for them."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/secretfs" if base else None


def _own_host() -> str | None:
    directory = own_runtime_dir() if os.geteuid() else None
    return f"unix://{directory}/api.sock" if directory and os.path.exists(f"{directory}/api.sock") else None


def socket_path(host: str) -> str:
    """The path in ``unix:///path``. Raises: UsageError for any other address."""
    path = host.removeprefix("unix://")
    if not host.startswith("unix://") or not path.startswith("/") or "\0" in path:
        raise UsageError(f"invalid host {host!r}: it must be unix:///path/to/api.sock")
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise UsageError(f"invalid host {host!r}: the path is longer than {MAX_SOCKET_PATH_BYTES} bytes")
    return path
