"""``inspect`` of any noun. Rule: docker's: what was found is printed even when something was not, errors
come after it.
"""

from argparse import Namespace
from collections.abc import Callable

from secretfs.cli import answers, output
from secretfs.cli.client import Client, quoted
from secretfs.cli.commands import for_each
from secretfs.errors import InvalidArgumentError, UsageError


def inspect(
    client: Client, arguments: Namespace, *, noun: str, references: list[str], pretty: Callable[[object], None]
) -> int:
    """Print the objects as the daemon sent them, or by the format, or for people; the exit code."""
    if arguments.pretty and arguments.format is not None:
        raise UsageError("--format and --pretty cannot be given together")
    if arguments.pretty:
        for reference in references:
            pretty(_fetched(client, noun, reference))
        return 0
    render = _renderer(arguments.format)
    found: list[object] = []
    code = for_each(references, noun, lambda reference: found.append(_fetched(client, noun, reference)))
    render(found)
    return code


def _fetched(client: Client, noun: str, reference: str) -> object:
    if not reference:
        raise InvalidArgumentError(f"invalid {noun} name or ID: value is empty")
    return client.get(f"/{noun}s/{quoted(reference)}")


def _renderer(form: str | None) -> Callable[[list[object]], None]:
    """What prints all that was found; a template is checked before anything is asked of the daemon."""
    if not form:
        return _print_documents
    if form == "json":
        return lambda found: output.line(output.compact(found))
    from secretfs.cli.template import parsed, rendered

    template = parsed(form)

    def render(found: list[object]) -> None:
        for value in found:
            output.template(rendered(template, _with_lists(value)) + "\n")
        if not found:
            output.line()

    return render


def _with_lists(value: object) -> object:
    """A service to which nothing is granted has no list of it; a template may name it all the same."""
    container = answers.at(value, "Spec", "TaskTemplate", "ContainerSpec")
    if isinstance(container, dict):
        for key in ("Secrets", "Configs"):
            container.setdefault(key, [])
    return value


def _print_documents(found: list[object]) -> None:
    if found:
        output.document(found)
    else:
        output.line("[]")
