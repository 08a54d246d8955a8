"""The company of the demo and the end-to-end tests, on a local cloud.

Everything that exists before this application does: its parameters, its main pipeline, the cluster
that testers work on, and the snapshots that production shares.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from localcloud.accounts import ACCEPTANCE, PRODUCTION, STRANGER
from localcloud.client import LocalCloud

PIPELINE = "acceptance-main"
CLUSTER = "acceptance-orders"
STAGE = "local"


class Company:
    """A company whose acceptance account refreshes one database, on ``cloud``.

    ``project`` is the folder that holds app.py; its stage ``local`` names the parameters.
    """

    def __init__(self, cloud: LocalCloud, project: Path, run_seconds: float = 2) -> None:
        self.cloud = cloud
        self.project = project
        self._run_seconds = run_seconds
        config = json.loads((project / ".chalice/config.json").read_text())
        self.variables: dict[str, str] = config["stages"][STAGE]["environment_variables"]
        self.latest = self.variables["SSM_RDS_LATEST_SNAPSHOT_NAME"]
        self.current = self.variables["SSM_RDS_CURRENT_SNAPSHOT_NAME"]

    def found(self, today: datetime) -> None:
        """The state before the first night: acceptance runs on data of two weeks ago."""
        self.cloud.set_clock(today)
        first = nightly("orders", today - timedelta(days=14))
        self.cloud.seed_snapshots([first])
        ssm = self.cloud.client("ssm")
        for name, value in (
            (self.variables["SSM_MAIN_CICD_NAME"], PIPELINE),
            (self.latest, "dummyvalue"),
            (self.current, arn_of(first)),
        ):
            ssm.put_parameter(Name=name, Value=value, Type="String")
        self.cloud.create_pipeline(PIPELINE, 0.2, [{"parameter": self.current, "cluster": CLUSTER}])
        run = self.cloud.client("codepipeline").start_pipeline_execution(name=PIPELINE)
        status = self.cloud.wait_for_run(run["pipelineExecutionId"], PIPELINE)
        assert status == "Succeeded", status
        self.cloud.patch_pipeline(PIPELINE, run_seconds=self._run_seconds)

    def share(self, night: datetime) -> list[dict[str, Any]]:
        """A realistic mixture of shares; the newest eligible one was taken six hours ago."""
        nights = [night - timedelta(days=days, hours=6) for days in range(40)]
        mixture = [nightly("orders", taken) for taken in nights if taken != nights[14]]
        mixture += [
            nightly(
                "billing", taken, engine="aurora-mysql", engine_version="8.0.mysql_aurora.3.04.0"
            )
            for taken in nights
        ]
        mixture += [
            nightly("documents", taken, engine="docdb", engine_version="5.0.0") for taken in nights
        ]
        mixture += [nightly("orders-next", taken, engine_version="16.1") for taken in nights[:5]]
        mixture += [nightly("reporting", taken) for taken in nights[:5]]
        later = night - timedelta(hours=1)
        mixture += [
            nightly("orders", later, identifier="orders-by-hand", created=None, status="creating"),
            nightly("orders", later, account=STRANGER),
        ]
        self.cloud.seed_snapshots(mixture)
        return mixture

    def chalice(
        self, *arguments: str, stdin: str = "", progress: Callable[[str], None] | None = None
    ) -> str:
        """Run Chalice's own command on the project against the cloud; what it printed.

        Raises RuntimeError with its output where it fails. ``progress`` is given each line.
        """
        process = subprocess.Popen(  # noqa: S603 (our own chalice)
            [Path(sys.executable).with_name("chalice"), *arguments],
            cwd=self.project,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin)
        process.stdin.close()
        printed = ""
        for line in process.stdout:
            printed += line
            if progress:
                progress(line.rstrip())
        process.stdout.close()
        if process.wait() != 0:
            raise RuntimeError(f"chalice {' '.join(arguments)} failed:\n{printed}")
        return printed

    def environment(self) -> dict[str, str]:
        """The environment in which tools talk to the cloud, and pip to no index."""
        wheels = Path(sys.prefix) / "wheels"
        packed = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels.exists() else {}
        return {**os.environ, **self.cloud.environment(), **packed}

    def parameter(self, name: str) -> str:
        """What a parameter holds."""
        value: str = self.cloud.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
        return value

    def clusters(self) -> dict[str, str]:
        """Acceptance's clusters, each with the ARN of the snapshot that it was restored from."""
        described = self.cloud.client("rds").describe_db_clusters()["DBClusters"]
        return {
            cluster["DBClusterIdentifier"]: tag["Value"]
            for cluster in described
            for tag in cluster["TagList"]
            if tag["Key"] == "local:restored-from"
        }


def nightly(cluster: str, taken: datetime, **facts: Any) -> dict[str, Any]:
    """A snapshot that production took of a cluster and shared with acceptance."""
    return {
        "account": PRODUCTION,
        "identifier": f"{cluster}-{taken:%Y-%m-%d}",
        "cluster": cluster,
        "engine": "aurora-postgresql",
        "engine_version": "15.4",
        "created": taken,
        "status": "available",
        "shared_with": [ACCEPTANCE],
        **facts,
    }


def arn_of(snapshot: dict[str, Any]) -> str:
    """The ARN that a seeded snapshot has."""
    return (
        f"arn:aws:rds:{LocalCloud.region}:{snapshot['account']}:cluster-snapshot:"
        f"{snapshot['identifier']}"
    )
