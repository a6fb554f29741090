"""``secretfs stack deploy``. Rule: all or nothing: what can be known is checked before anything is changed, and what
was changed is taken back when something fails.

What is new comes first, then services, then new values of what is there already, then what is pruned: an act that
running tasks see comes after those that may still fail.
"""

from argparse import Namespace

from secretfs.cli import answers, output, stack_objects
from secretfs.cli.client import Client, encoded, quoted
from secretfs.cli.commands import client_of
from secretfs.cli.stack_files import compose_file
from secretfs.cli.stack_names import check_name
from secretfs.cli.stack_objects import doing
from secretfs.cli.stack_state import StackState
from secretfs.cli.undo import Undo, undone
from secretfs.core.compose.build import NAMESPACE, Stack, StackService, build
from secretfs.core.compose.model import ComposeFile
from secretfs.core.compose.spec import unused
from secretfs.core.grant import TARGET_DIRS, GrantRequest, attachable, parse_target
from secretfs.core.names import Kind, folded


def deploy(arguments: Namespace) -> int:
    """Make the stack what the files say; print what was done."""
    check_name(arguments.stack)
    file = compose_file(arguments.compose_file)
    stack = build(file, arguments.stack)
    for each in stack.objects:
        stack_objects.check_value(each)
    client = client_of(arguments)
    state = StackState(client, stack)
    state.check()
    _note_unused(file)
    _warn_of_targets(stack)
    deployment = _Deployment(client, stack, state, quiet=arguments.quiet)
    with undone() as undo:
        deployment.run(undo)
    if arguments.prune:
        deployment.prune()
    return 0


class _Deployment:
    """One stack on its way."""

    def __init__(self, client: Client, stack: Stack, state: StackState, *, quiet: bool) -> None:
        self._client = client
        self._stack = stack
        self._state = state
        self._quiet = quiet
        self._ids: dict[tuple[Kind, str], str] = {}

    def run(self, undo: Undo) -> None:
        """Make it so."""
        there = []
        for each in self._stack.objects:
            found = self._state.object(each.kind, each.name)
            if found is None:
                self._say(f"Creating {each.kind.value} {each.name}")
                self._ids[each.kind, folded(each.name)] = stack_objects.create(self._client, each, undo)
            else:
                there.append((each, found))
        for service in self._stack.services:
            self._put(service, undo)
        for each, found in there:
            if stack_objects.update(self._client, each, found, undo):
                self._say(f"Updating {each.kind.value} {each.name}")

    def prune(self) -> None:
        """Remove the services of the stack that the files do not have."""
        wanted = {str(service.name) for service in self._stack.services}
        for name, found in self._state.services.items():
            if name not in wanted:
                self._say(f"Removing service {name}")
                with doing(f"remove service {name}"):
                    self._client.delete(f"/services/{answers.text(found, 'ID')}")

    def _put(self, service: StackService, undo: Undo) -> None:
        spec = self._spec(service)
        found = self._state.services.get(service.name)
        name = f"service {service.name}"
        if found is None:
            self._say(f"Creating {name}")
            with doing(f"create {name}"), undo.act(name, lambda: self._delete(service)):
                answer = self._client.post("/services/create", encoded(spec))
        else:
            self._say(f"Updating {name} (id: {answers.text(found, 'ID')})")
            before = answers.at(found, "Spec")
            with doing(f"update {name}"), undo.act(f"the update of {name}", lambda: self._update(found, before)):
                answer = self._update(found, spec)
        for text in answers.items(answer, "Warnings"):
            output.warning(str(text))

    def _delete(self, service: StackService) -> None:
        """By its name, and only when it is the stack's: nobody may have heard its id."""
        found = self._client.get(f"/services/{quoted(service.name)}")
        if answers.labels(found, "Spec", "Labels").get(NAMESPACE) == self._stack.name:
            self._client.delete(f"/services/{answers.text(found, 'ID')}")

    def _update(self, found: object, spec: object) -> object:
        path = f"/services/{answers.text(found, 'ID')}"
        version = str(answers.number(self._client.get(path), "Version", "Index"))
        return self._client.post(f"{path}/update", encoded(spec), {"version": version})

    def _spec(self, service: StackService) -> dict[str, object]:
        spec = dict(service.spec)
        task = answers.at(spec, "TaskTemplate")
        container = answers.at(task, "ContainerSpec")
        assert isinstance(task, dict)
        assert isinstance(container, dict)
        granted = {
            f"{kind.value.capitalize()}s": [self._reference(each) for each in service.grants if each.kind is kind]
            for kind in Kind
        }
        return spec | {"TaskTemplate": task | {"ContainerSpec": container | granted}}

    def _reference(self, request: GrantRequest) -> dict[str, object]:
        word = request.kind.value.capitalize()
        found = self._state.object(request.kind, request.source)
        object_id = self._ids.get((request.kind, folded(request.source))) or answers.text(found, "ID")
        return {
            "File": {"Name": request.target, "UID": request.uid, "GID": request.gid, "Mode": request.mode},
            f"{word}ID": object_id,
            f"{word}Name": request.source if found is None else answers.text(found, "Spec", "Name"),
        }

    def _say(self, line: str) -> None:
        if not self._quiet:
            output.line(line)
            output.flush()  # somebody watches


def _note_unused(file: ComposeFile) -> None:
    keys = sorted({key for service in file.services.values() for key in unused(service.fields)})
    if keys:
        output.note(f"Ignoring unsupported options: {', '.join(keys)}")  # docker's words; secretfs starts nothing


def _warn_of_targets(stack: Stack) -> None:
    """Docker mounts them in containers; a service may keep them, and no task can have them."""
    for service in stack.services:
        for request in service.grants:
            if not attachable(parse_target(request.target, request.kind)):
                output.warning(
                    f"service {service.key}: {request.kind.value} target '{request.target}' is absolute: "
                    f"a task can have targets below {TARGET_DIRS[request.kind]} only"
                )
