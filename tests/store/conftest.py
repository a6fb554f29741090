"""The engines that the contract is tested with: each is a way to open the store of one test, as often as one likes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from secretfs.store.base import Store
from secretfs.store.sqlite import opened

Engine = Callable[[], AbstractAsyncContextManager[Store]]
ENGINES: dict[str, Callable[[Path], Engine]] = {
    "sqlite": lambda directory: lambda: opened(directory / "store.db"),
}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return ENGINES[request.param](tmp_path)


@pytest.fixture
async def store(engine: Engine) -> AsyncIterator[Store]:
    async with engine() as store:
        yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the tests of the SQLite engine have their store."""
    return tmp_path / "store.db"
