"""Run the functions of the deployment package, and those of the floor, in Lambda's own runtime client."""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from botocore.credentials import Credentials

from bench.playback import Playback, Recording
from demo.acceptance import STAGE, Company, arn_of, copy_project, nightly
from localcloud import runtime
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud
from localcloud.environments import Environment

UPDATE, RESTORE = "db-update-latest-snapshot-id", "db-restore-from-snapshot"
FOLLOW, RECONCILE, PIN = "db-follow-pipeline", "db-reconcile", "PUT /snapshots/current"
#: The functions, with their handlers in the package and in the floor.
FUNCTIONS = {
    UPDATE: {"package": "chalicelib.triggers.update.handler", "floor": "floor.update"},
    RESTORE: {"package": "chalicelib.triggers.restore.handler", "floor": "floor.restore"},
    FOLLOW: {"package": "chalicelib.triggers.follow_pipeline.handler", "floor": "floor.follow"},
    RECONCILE: {"package": "chalicelib.triggers.reconcile.handler", "floor": "floor.reconcile"},
    PIN: {"package": "app.app", "floor": "floor.pin"},
}
#: How many modules each may import beyond the floor: a few more than today, because other versions of
#: Python split the standard library differently.
MODULES = {UPDATE: 50, RESTORE: 54, FOLLOW: 54, RECONCILE: 57, PIN: 67}
#: The numbers of shared snapshots with which updates are measured.
SHARES = FEW, _, MANY = 20, 200, 2000
MOST = 20_000  # repeats the pages of MANY, which is right for memory only
_SERVICES = ("CLOUDFORMATION", "CODEPIPELINE", "RDS", "SNS", "SSM")


class Bench:
    """A stage after one night on the local cloud, whose functions can be run again with what AWS answered."""

    def __init__(self, project: Path, folder: Path, cloud: LocalCloud) -> None:
        self.folder, self.aws = folder, Playback(cloud.endpoint)
        copy = folder / "project"
        copy.mkdir()
        copy_project(project, copy)
        file = copy / ".chalice/config.json"
        config = json.loads(file.read_text())
        self.variables = config["stages"][STAGE]["environment_variables"]
        self.variables |= {f"AWS_ENDPOINT_URL_{service}": self.aws.url for service in _SERVICES}
        # Every week is an on-week, and the window is always open.
        self.variables |= {"REFRESH_EVERY_WEEKS": "1", "MAINTENANCE_WINDOW": "00:00-24:00"}
        file.write_text(json.dumps(config))
        self.company = Company(cloud, copy)
        self._events: dict[str, Any] = {}
        self._recordings: dict[tuple[str, int], Recording] = {}
        self._spend_a_night()
        (package,) = copy.glob(".chalice/deployments/*.zip")
        self.size = package.stat().st_size / 2**20  # in MiB
        runtime.link(runtime.RUNTIME, folder / "runtime")
        runtime.unpack(package.read_bytes(), folder / "package")
        (folder / "floor").mkdir()
        shutil.copy(Path(__file__).with_name("floor.py"), folder / "floor")
        self.warm = {who: self._start(who, UPDATE) for who in ("package", "floor")}
        for who, process in self.warm.items():
            self.run(who, UPDATE, process=process)

    def _spend_a_night(self) -> None:
        """Invoke each function when it has all of its work to do; keep its event and AWS's answers."""
        cloud, now = self.company.cloud, datetime.now(UTC)
        self.company.found(now - timedelta(days=1))
        cloud.set_clock(None)
        self.company.chalice("deploy", "--stage", STAGE)
        first, clusters = now - timedelta(hours=6), ("billing", "orders")
        shares = [
            nightly(clusters[at % 2], first + timedelta(seconds=at), identifier=f"share-{at}")
            for at in range(MANY)
        ]
        for shared, more in pairwise((1, *SHARES)):  # one exists already
            cloud.seed_snapshots(shares[shared:more])
            self._record(UPDATE, lambda: cloud.fire(UPDATE, now), more)
        many = self._recordings[UPDATE, MANY]
        pages = many["DescribeDBClusterSnapshots"]
        most = (pages[:-1] * 11)[: MOST // 100 - 1] + pages[-1:]
        self._recordings[UPDATE, MOST] = Recording(list, many, DescribeDBClusterSnapshots=most)
        cloud.fire(RECONCILE, now)  # remembers what is deployed
        self._record(RECONCILE, lambda: cloud.fire(RECONCILE, now))
        (restored,) = self._record(RESTORE, lambda: cloud.fire(RESTORE, now))
        self._record(FOLLOW, lambda: self.company.followed(restored["payload"]["execution_id"]))
        pinned = {"snapshot": arn_of(shares[1])}
        self._record(PIN, lambda: self.company.signed("PUT", "/snapshots/current", pinned))

    def _record(self, function: str, use: Callable[[], Any], shares: int = FEW) -> Any:
        self._recordings[function, shares] = Recording(list)
        self.aws.play(self._recordings[function, shares])
        result = use()
        self._events[function] = self.company.cloud.invocations()[-1]["event"]
        return result

    def run(
        self,
        who: str,
        function: str,
        shares: int = FEW,
        rate: float = math.inf,
        process: Environment | None = None,
    ) -> float:
        """Run a function of the package or the floor, in a new process unless one is given.

        Return the milliseconds that it takes. Keep its answer, and its peak memory in MiB.
        """
        self.aws.play(self._recordings[function, shares], rate)
        event = json.dumps(self._events[function]).encode()
        began = time.perf_counter()
        running = process or self._start(who, function)
        outcome = running.invoke("request", event)
        milliseconds = 1000 * (time.perf_counter() - began)
        if not outcome.succeeded:
            raise RuntimeError(f"{outcome.payload!r}\n{outcome.log}")
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        peak = status.partition("VmHWM:")[2].split()[0]
        self.answer, self.peak = json.loads(outcome.payload), int(peak) / 1024
        if not process:
            time.sleep(0.02)  # it may still be reading the response to its answer
            running.end()
        return milliseconds

    def _start(self, who: str, function: str) -> Environment:
        folder = Path(mkdtemp(dir=self.folder))
        configuration = {
            "FunctionName": function,
            "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCEPTANCE}:function:{function}",
            "Handler": FUNCTIONS[function][who],
            "Runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
            "Timeout": 300,
            "MemorySize": 256,
            "Environment": {"Variables": self.variables},
        }
        credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "secret", "token")
        task = self.folder / who
        return Environment(configuration, task, self.folder, credentials, self.aws.url, folder)

    def close(self) -> None:
        """Stop the processes and the playback."""
        for process in self.warm.values():
            process.end()
        self.aws.close()
