"""One local cloud for the whole session."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from localcloud.client import LocalCloud

# A busy machine is no defect: tests never time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What a test asks of make is not asked by the make that runs the tests: it is a user's own.
for name in [name for name in os.environ if name.startswith("MAKE") or name == "MFLAGS"]:
    del os.environ[name]


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, in one process, where they share a cloud or a browser."""
    for item in items:
        if {"browser", "contract", "e2e", "localcloud"}.intersection(item.path.parts):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture(scope="session")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud.start(log=tmp_path_factory.mktemp("localcloud") / "log") as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: LocalCloud) -> LocalCloud:
    """The cloud as it is at its start."""
    running_cloud.reset()
    return running_cloud
