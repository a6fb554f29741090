"""Command lines of which secretfs tells something else than an engine does, and why."""

_NO_TASKS = "an engine starts tasks, here they attach: what runs is what is wanted"
_ANY_ORDER = "an engine has them in any order; here it is the order in which services began to use it"
_ANY_CASE = "a service is found without regard to case, as secrets, configs and nodes are by both"
_NOTHING_CHANGES = "a change of the swarm that would have no effect is refused"

DIFFERENCES: dict[str, str] = {
    "secret ls --format pretty": "labels come in any order, also from an engine",
    "config ls --format pretty": "labels come in any order, also from an engine",
    "secret rm a": _ANY_ORDER,
    "config rm a": _ANY_ORDER,
    "secret rm a nope": _ANY_ORDER,
    "service inspect --format '{{.Spec.Name}}' WEB": _ANY_CASE,
    "service ls --format '{{.Name}}' --filter name=WE": _ANY_CASE,
    "service inspect --pretty web": "UpdateStatus is always there, so that docker's client waits for no task",
    "stack services --format '{{.Name}} {{.Replicas}}' st": _NO_TASKS,
    "node ps -q": _NO_TASKS,
    "swarm update --cert-expiry 30m": _NOTHING_CHANGES,
    "events --since 1h --until {soon} --filter type=node --format '{{.Action}} {{.Actor.Attributes}}'":
        "an engine also tells of its own updates of the node, when it joins and when certificates are renewed",
}  # fmt: skip
