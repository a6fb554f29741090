import pytest

from secretfs.core.names import Kind, ObjectId, ObjectName
from secretfs.core.secret import Secret, Version, check_size
from secretfs.errors import InvalidArgumentError, NotFoundError


def secret(*numbers: int) -> Secret:
    versions = tuple(Version(number, 0, 1) for number in numbers)
    return Secret(Kind.SECRET, ObjectId("a" * 25), ObjectName("pw"), {}, 0, 0, versions)


@pytest.mark.parametrize(
    ("kind", "size"),
    [(Kind.SECRET, 1), (Kind.SECRET, 511_999), (Kind.CONFIG, 1), (Kind.CONFIG, 1_023_999)],
)
def test_size_within_the_limit_is_taken(kind: Kind, size: int) -> None:
    check_size(kind, size)


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        (Kind.SECRET, 0, "secret data must be larger than 0 and less than 512000 bytes"),
        (Kind.SECRET, 512_000, "secret data must be larger than 0 and less than 512000 bytes"),
        (Kind.CONFIG, 0, "config data must be larger than 0 and less than 1024000 bytes"),
        (Kind.CONFIG, 1_024_000, "config data must be larger than 0 and less than 1024000 bytes"),
    ],
)
def test_size_outside_is_refused_with_docker_text(kind: Kind, size: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_size(kind, size)
    assert str(caught.value) == message


def test_newest_version_is_the_last() -> None:
    assert secret(1, 2, 5).newest.number == 5


def test_version_is_found_by_number() -> None:
    assert secret(1, 3).version(3).number == 3
    with pytest.raises(NotFoundError) as caught:
        secret(1, 3).version(2)
    assert str(caught.value) == "secret pw has no version 2"


@pytest.mark.parametrize("numbers", [(), (0,), (2, 1), (1, 1)])
def test_versions_that_do_not_rise_cannot_be(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="versions of pw must rise"):
        secret(*numbers)
