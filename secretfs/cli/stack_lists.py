"""``secretfs stack ls``, ``services``, ``ps``. Rule: a stack is what services have its label; each is shown as the
commands of services and tasks show it.
"""

import time
from argparse import Namespace
from collections import Counter

from secretfs.cli import answers, output, service, task
from secretfs.cli.client import Client
from secretfs.cli.commands import REFUSED, client_of
from secretfs.cli.filters import query
from secretfs.cli.listing import Columns, by_name, show
from secretfs.cli.stack_names import NAMESPACE, filter_of

COLUMNS = Columns("*formatter.stackContext", {"Name": "NAME", "Services": "SERVICES"}, ("Name", "Services"), key="Name")


def ls(arguments: Namespace) -> int:
    """Print the stacks, sorted by name."""
    counts = counted(client_of(arguments))
    rows = [COLUMNS.row({"Name": name, "Services": str(count)}) for name, count in counts.items()]
    show(rows, COLUMNS, form=arguments.format, quiet=False)
    return 0


def counted(client: Client) -> dict[str, int]:
    """The stacks, sorted by name, and how many services they have."""
    found = answers.items(client.get("/services", query([f"label={NAMESPACE}"])))
    counts = Counter(answers.labels(item, "Spec", "Labels").get(NAMESPACE, "") for item in found)
    return {name: counts[name] for name in sorted(counts, key=by_name)}


def services(arguments: Namespace) -> int:
    """Print the services of the stack, sorted by name."""
    asked = {"status": "true", **query([*arguments.filter, filter_of(arguments.stack)])}
    found = answers.items(client_of(arguments).get("/services", asked))
    if not found:
        output.progress(f"Nothing found in stack: {arguments.stack}")
        return 0
    rows = [service.row(item, time.time_ns()) for item in found]
    rows.sort(key=lambda row: by_name(row.fields["Name"]))
    show(rows, service.COLUMNS, form=arguments.format, quiet=arguments.quiet)
    return 0


def ps(arguments: Namespace) -> int:
    """Print the running tasks of the stack."""
    client = client_of(arguments)
    asked = query([*arguments.filter, filter_of(arguments.stack)])
    wanted = {answers.text(item, "ID") for item in answers.items(client.get("/tasks", asked))}
    if not wanted:
        output.error(f"nothing found in stack: {arguments.stack}")
        return REFUSED
    task.print_tasks(client, arguments, tasks=wanted)
    return 0
