"""``secretfs service``. Rule: the nouns, verbs and grant syntax of docker service, for a service that starts
nothing.
"""

import time
from argparse import Namespace, _SubParsersAction

from secretfs.cli import allowed, answers, beside, filters, output, times
from secretfs.cli.client import quoted
from secretfs.cli.commands import add_listing_flags, client_of, for_each, print_labels
from secretfs.cli.listing import Columns, Row, by_name, show
from secretfs.cli.parser import CommandParser, add_commands, examples
from secretfs.cli.verbs import add_inspect, add_ls, add_rm

COLUMNS = Columns(
    "*service.serviceContext",
    {
        "ID": "ID",
        "Name": "NAME",
        "Tasks": "TASKS",
        "Secrets": "SECRETS",
        "Configs": "CONFIGS",
        "Mode": "MODE",
        "Replicas": "REPLICAS",
        "Image": "IMAGE",
        "Ports": "PORTS",
        "CreatedAt": "CREATED",
        "UpdatedAt": "UPDATED",
        "Labels": "LABELS",
    },
    ("ID", "Name", "Tasks", "Secrets", "Configs", "UpdatedAt"),
)

GRANT_HELP = "NAME or source=NAME,target=FILE,uid=USER,gid=GROUP,mode=0440,version=N"


def register(commands: "_SubParsersAction[CommandParser]") -> None:
    """Add ``service`` and its commands."""
    noun = commands.add_parser(
        "service",
        help="grant secrets to services",
        description="Grant secrets to services. A service is a named set of grants; tasks attach to it.",
        epilog=examples("secretfs service create --secret my_secret web", "secretfs service ls"),
    )
    verbs = add_commands(noun)
    _register_create(verbs)
    _register_update(verbs)
    add_ls(
        verbs,
        "service",
        ls,
        description="List services, with how many tasks are running and how many grants they have.\n"
        "Placeholders: .ID .Name .Tasks .Secrets .Configs .Mode .Replicas .Image .Ports .CreatedAt .UpdatedAt\n"
        "  .Labels .Label",
        lines=("secretfs service ls", "secretfs service ls --quiet --filter name=web"),
    )
    add_inspect(
        verbs,
        "service",
        _print_pretty,
        what="services",
        lines=("secretfs service inspect web", "secretfs service inspect --pretty web"),
    )
    _register_ps(verbs)
    add_rm(
        verbs,
        "service",
        summary="remove services; the secrets of their tasks are flushed",
        description="Remove services. The secrets of their running tasks are flushed; the programs go on.",
        line="secretfs service rm web",
    )


def _register_create(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "create",
        help="create a service",
        description="Create a service; print its id.",
        epilog=examples(
            "secretfs service create --secret my_secret web",
            "secretfs service create --secret source=my_secret,target=db_password,uid=0,gid=0,mode=0400 db",
        ),
    )
    parser.add_argument("--secret", action="append", default=[], metavar="SECRET", help=GRANT_HELP)
    parser.add_argument("--config", action="append", default=[], metavar="CONFIG", help="the same for a config")
    parser.add_argument("-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="a label")
    allowed.add_flags(parser, removal=False)
    beside.add_on_change(parser)
    parser.add_argument("name", metavar="NAME", help="a DNS label, up to 63 characters")
    parser.set_defaults(handler=create)


def _register_update(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "update",
        help="change what a service is granted, also for its running tasks",
        description="Change a service. When this returns, its running tasks have the new secrets and no other.\n"
        "Removals come before additions, so both together replace a grant.",
        epilog=examples(
            "secretfs service update --secret-add source=my_secret,target=again web",
            "secretfs service update --secret-rm my_secret web",
            "secretfs service update --allow-uid nobody web",
            "secretfs service update --on-change signal:HUP web",
        ),
    )
    for flag, metavar, text in (
        ("--secret-add", "SECRET", GRANT_HELP),
        ("--secret-rm", "SECRET", "take away all grants of this secret"),
        ("--config-add", "CONFIG", "the same for a config"),
        ("--config-rm", "CONFIG", "take away all grants of this config"),
        ("--label-add", "KEY=VALUE", "add or change a label"),
        ("--label-rm", "KEY", "remove a label"),
    ):
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=text)
    allowed.add_flags(parser, removal=True)
    beside.add_on_change(parser)
    parser.add_argument("service", metavar="SERVICE")
    parser.set_defaults(handler=update)


def _register_ps(verbs: "_SubParsersAction[CommandParser]") -> None:
    parser = verbs.add_parser(
        "ps",
        help="list the running tasks of services",
        description="List the running tasks of services, with the version of each secret that they see.\n"
        "Placeholders: .ID .Service .PID .State .Since .TargetDir .Secrets .Configs",
        epilog=examples("secretfs service ps web", "secretfs service ps --quiet web"),
    )
    add_listing_flags(parser)
    parser.add_argument("service", metavar="SERVICE", nargs="+")
    parser.set_defaults(handler=ps)


def create(arguments: Namespace) -> int:
    """Create the service; print its id."""
    from secretfs.cli import service_changes

    return service_changes.create(arguments)


def update(arguments: Namespace) -> int:
    """Change the service; print it as it was named."""
    from secretfs.cli import service_changes

    return service_changes.update(arguments)


def ls(arguments: Namespace) -> int:
    """Print the services, sorted by name."""
    query = {"status": "true", **filters.query(arguments.filter)}
    found = client_of(arguments).get("/services", query)
    rows = [row(service, time.time_ns()) for service in answers.items(found)]
    rows.sort(key=lambda each: by_name(each.fields["Name"]))
    show(rows, COLUMNS, form=arguments.format, quiet=arguments.quiet)
    return 0


def ps(arguments: Namespace) -> int:
    """Print the running tasks of the services."""
    from secretfs.cli.task import print_tasks

    def add(reference: str) -> None:
        wanted.add(answers.text(client.get(f"/services/{quoted(reference)}"), "ID"))

    client = client_of(arguments)
    wanted: set[str] = set()
    code = for_each(arguments.service, "service", add)
    if wanted:
        print_tasks(client, arguments, services=wanted)
    return code


def row(service: object, now_ns: int) -> Row:
    """A service as ``COLUMNS`` shows it."""
    container = answers.at(service, "Spec", "TaskTemplate", "ContainerSpec")
    running = str(answers.number(service, "ServiceStatus", "RunningTasks"))
    fields = {
        "ID": answers.text(service, "ID"),
        "Name": answers.text(service, "Spec", "Name"),
        "Tasks": running,
        "Secrets": str(len(answers.items(container, "Secrets"))),
        "Configs": str(len(answers.items(container, "Configs"))),
        "Mode": _mode(service),
        "Replicas": f"{running}/{answers.number(service, 'ServiceStatus', 'DesiredTasks')}",
        "Image": answers.text(container, "Image"),
        "Ports": "",
        "CreatedAt": times.ago(answers.text(service, "CreatedAt"), now_ns),
        "UpdatedAt": times.ago(answers.text(service, "UpdatedAt"), now_ns),
    }
    return COLUMNS.row(fields, answers.labels(service, "Spec", "Labels"))


def _mode(service: object) -> str:
    """As docker's: ``replicated`` or ``global``."""
    mode = answers.at(service, "Spec", "Mode")
    return next(iter(mode), "").lower() if isinstance(mode, dict) else ""


def _print_pretty(service: object) -> None:
    output.line(f"ID:              {answers.text(service, 'ID')}")
    output.line(f"Name:            {answers.text(service, 'Spec', 'Name')}")
    output.line("Labels:")
    print_labels(service)
    for kind in ("uid", "gid"):
        if ids := allowed.numbers(answers.at(service, "Spec"), kind):
            output.line(f"Allowed {kind}s:    {', '.join(map(str, ids))}")
    if act := answers.text(service, "Spec", beside.KEY, "OnChange"):
        output.line(f"On change:       {act}")
    for word in ("Secret", "Config"):
        _print_grants(service, word)
    output.line(f"Created at:      {times.spelled(answers.text(service, 'CreatedAt'))}")
    output.line(f"Updated at:      {times.spelled(answers.text(service, 'UpdatedAt'))}")


def _print_grants(service: object, word: str) -> None:
    grants = answers.items(service, "Spec", "TaskTemplate", "ContainerSpec", f"{word}s")
    pins = {
        answers.text(pin, "Target"): answers.number(pin, "Version")
        for pin in answers.items(service, "Spec", beside.KEY, "Pins")
        if answers.text(pin, "Kind") == word.lower()
    }
    output.line(f"{word}s:")
    for grant in grants:
        owner = f"{answers.text(grant, 'File', 'UID')}:{answers.text(grant, 'File', 'GID')}"
        mode = f"0{answers.number(grant, 'File', 'Mode'):o}"
        target = answers.text(grant, "File", "Name")
        version = f" version {pins[target]}" if target in pins else ""
        output.line(f" - {answers.text(grant, f'{word}Name')} -> {target} ({owner} {mode}{version})")
