"""A service's other keys as Docker's service spec, and those that have no use here.

secretfs starts nothing, so most of a compose file is for others. Kept is what names and describes a service in
listings; the environment is not, on purpose: it often has passwords, and a spec can be read through the API.
"""

from collections.abc import Mapping
from typing import Final

from secretfs.core.compose.parts import labels_of, text_of
from secretfs.core.compose.tree import Map, Node, Scalar
from secretfs.core.service import JsonObject
from secretfs.errors import ComposeError

_IMAGE: Final = "com.docker.stack.image"
_KEPT: Final = {"image": "Image", "hostname": "Hostname", "user": "User", "working_dir": "Dir"}
_USED: Final = {*_KEPT, "labels", "deploy"}


def unused(fields: Mapping[str, Node]) -> list[str]:
    """The keys of a service that have no use here."""
    return [key for key in fields if key not in _USED and not key.startswith("x-")]


def service_labels(fields: Mapping[str, Node]) -> dict[str, str]:
    """``deploy.labels``. Raises: ComposeError."""
    return labels_of(_deploy(fields).get("labels"), "deploy.labels")


def image_label(fields: Mapping[str, Node]) -> dict[str, str]:
    """The image as it was written, which docker's next deploy compares (cli/compose/convert/service.go)."""
    return {_IMAGE: text_of(fields["image"], "image")} if "image" in fields else {}


def task_spec(fields: Mapping[str, Node], labels: Mapping[str, str]) -> JsonObject:
    """``TaskTemplate`` without grants, and ``Mode``; the labels are the container's too. Raises: ComposeError."""
    container: dict[str, object] = {"Labels": {**labels_of(fields.get("labels"), "labels"), **labels}}
    container |= {word: text_of(fields[key], key) for key, word in _KEPT.items() if key in fields}
    return {"TaskTemplate": {"ContainerSpec": container}, "Mode": _mode(_deploy(fields))}


def _deploy(fields: Mapping[str, Node]) -> Mapping[str, Node]:
    deploy = fields.get("deploy")
    if isinstance(deploy, Map):
        return deploy.items
    if deploy is None or (isinstance(deploy, Scalar) and deploy.null):
        return {}
    raise ComposeError(f"{deploy.place}: deploy must be a mapping")


def _mode(deploy: Mapping[str, Node]) -> dict[str, object]:
    """As docker's client says it (cli/compose/convert/service.go, convertDeployMode), with its texts."""
    mode = text_of(deploy["mode"], "deploy.mode", empty=True) if "mode" in deploy else ""
    replicas = _replicas(deploy)
    match mode:
        case "" | "replicated":
            return {"Replicated": {"Replicas": 1 if replicas is None else replicas}}
        case "replicated-job":
            return {
                "ReplicatedJob": {} if replicas is None else {"MaxConcurrent": replicas, "TotalCompletions": replicas}
            }
        case "global" | "global-job":
            if replicas is not None:
                text = "replicas can only be used with replicated or replicated-job mode"
                raise ComposeError(f"{deploy['replicas'].place}: {text}")
            return {"Global" if mode == "global" else "GlobalJob": {}}
    raise ComposeError(f"{deploy['mode'].place}: unknown mode: {mode}")


def _replicas(deploy: Mapping[str, Node]) -> int | None:
    if "replicas" not in deploy:
        return None
    text = text_of(deploy["replicas"], "deploy.replicas")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ComposeError(f"{deploy['replicas'].place}: deploy.replicas must be a number")
    return int(text)
