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


_DEMOS = {"test_readme.py"}
_SHARING = {"browser", "contract", "e2e", "localcloud", "test_bench.py"}
_DEPLOYED = ("cli", "contract", "night", "permissions")


def _are_in(nodeid: str, names: set[str]) -> bool:
    return not names.isdisjoint(nodeid.partition("::")[0].split("/"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: single short tests can fill up the processes in the end."""
    items.sort(key=lambda item: [not _are_in(item.nodeid, names) for names in (_DEMOS, _SHARING)])


class _Scheduler(LoadScopeScheduling):
    """Keeps the tests of a file in one process where they share a cloud, a browser or a package.

    Those that share one deployed stage are together, for each process would deploy another one.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(tuple(f"tests/e2e/test_{each}.py" for each in _DEPLOYED)):
            return "deployed"
        return nodeid.partition("::")[0] if _are_in(nodeid, _SHARING) else nodeid


@pytest.hookimpl(optionalhook=True)  # unknown where the tests run without the plugin
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Stand in for `--dist loadgroup`, whose groups never reach the scheduler with pytest 9.2.

    https://pytest-xdist.readthedocs.io/en/stable/distribution.html
    """
    config.option.loadscopereorder = False
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
