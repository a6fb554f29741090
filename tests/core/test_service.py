import pytest

from secretfs.core.names import Kind, ObjectId, ObjectName, ServiceName, TaskId
from secretfs.core.secret import Secret, Version
from secretfs.core.service import check_unused
from secretfs.errors import ObjectInUseError

ID = ObjectId("a" * 25)


def named(kind: Kind) -> Secret:
    return Secret(kind, ID, ObjectName("pw"), {}, 0, 0, (Version(1, 0, 1),))


@pytest.mark.parametrize(
    ("services", "tasks", "users"),
    [
        (["web"], [], "service: web"),
        (["web", "db"], [], "services: web, db"),
        ([], ["t1"], "task: t1"),
        ([], ["t1", "t2"], "tasks: t1, t2"),
        (["web"], ["t1"], "service: web and task: t1"),
    ],
)
@pytest.mark.parametrize("kind", Kind)
def test_object_in_use_is_refused_and_its_users_named(
    kind: Kind, services: list[str], tasks: list[str], users: str
) -> None:
    with pytest.raises(ObjectInUseError) as caught:
        check_unused(named(kind), map(ServiceName, services), map(TaskId, tasks))
    assert str(caught.value) == f"{kind.value} 'pw' is in use by the following {users}"


def test_object_that_nobody_uses_may_go() -> None:
    check_unused(named(Kind.SECRET), [])
