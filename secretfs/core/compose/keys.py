"""Which keys a compose file may have. Rule: a key that nobody knows is a slip, and a slip must not hide a secret.

The keys of the Compose Specification (schema/compose-spec.json) and of docker's schema 3.13; ``x-…`` is anybody's.
"""

from difflib import get_close_matches
from typing import Final

from secretfs.core.compose.tree import Map
from secretfs.errors import ComposeError

TOP: Final = frozenset({"version", "name", "services", "networks", "volumes", "secrets", "configs", "models"})
SECRET: Final = frozenset(
    {"file", "environment", "external", "name", "labels", "driver", "driver_opts", "template_driver"}
)
CONFIG: Final = frozenset({"file", "environment", "content", "external", "name", "labels", "template_driver"})
EXTERNAL: Final = frozenset({"name"})
GRANT: Final = frozenset({"source", "target", "uid", "gid", "mode"})
SERVICE: Final = frozenset({
    "annotations", "attach", "blkio_config", "build", "cap_add", "cap_drop", "cgroup", "cgroup_parent",
    "cgroupns_mode", "command", "configs", "container_name", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota",
    "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset", "credential_spec", "depends_on", "deploy",
    "develop", "device_cgroup_rules", "devices", "dns", "dns_opt", "dns_search", "domainname", "entrypoint",
    "env_file", "environment", "expose", "external_links", "extra_hosts", "gpus", "group_add", "healthcheck",
    "hostname", "image", "init", "ipc", "isolation", "label_file", "labels", "links", "logging", "mac_address",
    "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "models", "network_mode", "networks",
    "oom_kill_disable", "oom_score_adj", "pid", "pids_limit", "platform", "ports", "post_start", "pre_stop",
    "privileged", "provider", "pull_policy", "pull_refresh_after", "read_only", "restart", "runtime", "scale",
    "secrets", "security_opt", "shm_size", "stdin_open", "stop_grace_period", "stop_signal", "storage_opt", "sysctls",
    "tmpfs", "tty", "ulimits", "use_api_socket", "user", "userns_mode", "uts", "volumes", "volumes_from",
    "working_dir",
})  # fmt: skip
# They say which services, and so which secrets, there are: what does not follow them must not ignore them either.
_NOT_FOLLOWED: Final = {
    "include": "name the other file with another --compose-file",
    "extends": "write out what the service is granted",
    "profiles": "put the service into a file of its own, for another --compose-file",
}
_CLOSE: Final = 0.7


def check_keys(node: Map, known: frozenset[str], where: str) -> None:
    """Refuse a key that is not known there. Raises: ComposeError, with the line and what is allowed."""
    for key in node.items:
        if key in known or key.startswith("x-"):
            continue
        text = f"{node.keys[key]}: {where}: "
        if key in _NOT_FOLLOWED and known in (TOP, SERVICE):
            raise _hinted(ComposeError(f"{text}'{key}' is not followed by secretfs"), _NOT_FOLLOWED[key])
        close = get_close_matches(key, known, n=1, cutoff=_CLOSE)
        meant = f", did you mean '{close[0]}'?" if close else ""
        raise _hinted(
            ComposeError(f"{text}unknown key '{key}'{meant}"), f"allowed are {', '.join(sorted(known))} and x-..."
        )


def _hinted(failure: ComposeError, hint: str) -> ComposeError:
    failure.add_note(hint)
    return failure
