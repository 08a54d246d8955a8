"""Settings, the distribution of tests over processes, and one local cloud for each process."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from localcloud.client import LocalCloud

# No deadline: a busy machine is not a failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A make that a test starts must not inherit the options of the make that runs the tests.
for name in [name for name in os.environ if name.startswith("MAKE") or name == "MFLAGS"]:
    del os.environ[name]


_SHARING = {"browser", "contract", "e2e", "localcloud", "test_bench.py"}


class _Scheduler(LoadScopeScheduling):
    """Keeps the tests of a file in one process where they share a cloud, a browser or a package."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _SHARING.intersection(file.split("/")) else nodeid


@pytest.hookimpl(optionalhook=True)  # unknown where the tests run without the plugin
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Stand in for `--dist loadgroup`, whose groups never reach the scheduler with pytest 9.2.

    https://pytest-xdist.readthedocs.io/en/stable/distribution.html
    """
    return _Scheduler(config, log)


@pytest.fixture(scope="session")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud.start(log=tmp_path_factory.mktemp("localcloud") / "log") as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: LocalCloud) -> LocalCloud:
    """The cloud as it is at its start."""
    running_cloud.reset()
    return running_cloud
