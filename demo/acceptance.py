"""The company's acceptance account on a local cloud, for the demo and the end-to-end tests.

It has what exists before this application is deployed: parameters, the main pipeline, the cluster that
testers work on, and the snapshots that production shares.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cli import configure as configuring
from demo.pipeline import create_pipeline
from localcloud import variables
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION, STRANGER, key_of
from localcloud.client import LocalCloud, send, wait_until

PIPELINE = "acceptance-main"
FOLLOW = "db-follow-pipeline"
STACK = "acceptance"
CLUSTER = "acceptance-orders"
STAGE = "local"

# The exact versions; a stage names only their leading parts.
VERSIONS = {
    "aurora-postgresql": "15.4",
    "aurora-mysql": "8.0.mysql_aurora.3.04.0",
    "docdb": "5.0.0",
    "neptune": "1.3.2.1",
}


@dataclass(frozen=True)
class Database:
    """One of the company's databases: its parameters, and production's cluster."""

    latest: str
    current: str
    source: str
    engine: str

    def nightly(self, taken: datetime, **facts: Any) -> dict[str, Any]:
        """Return a snapshot of it that production has shared."""
        return nightly(self.source, taken, **{**self._kind, **facts})

    def restored(self) -> dict[str, str]:
        """Return the database as `create_pipeline` takes it."""
        return {"parameter": self.current, "cluster": self.source, **self._kind}

    @property
    def _kind(self) -> dict[str, str]:
        return {"engine": self.engine, "engine_version": VERSIONS[self.engine]}


# The answers to `aurora-refresh configure` for the stage of demo and tests, with one database.
ANSWERS = {
    "MAIN_PIPELINE_ARN": f"arn:aws:codepipeline:{REGION}:{ACCEPTANCE}:{PIPELINE}",
    "SOURCE_ACCOUNT": PRODUCTION,
    "SSM_MAIN_CICD_NAME": "/acceptance/cicd/main-pipeline-name",
    "DATABASES": "RDS",
    "SSM_RDS_LATEST_SNAPSHOT_NAME": "/acceptance/rds/latest-snapshot",
    "SSM_RDS_CURRENT_SNAPSHOT_NAME": "/acceptance/rds/current-snapshot",
    "RDS_ENGINE": "aurora-postgresql",
    "RDS_ENGINE_VERSION": "15",
    "RDS_SOURCE_CLUSTER": "orders",
    "RDS_STACK_NAME": STACK,
    "NOTIFICATION_TOPIC_ARN": f"arn:aws:sns:{REGION}:{ACCEPTANCE}:aurora-refresh",
    "SSM_REFRESH_HOLD_NAME": "/acceptance/refresh/hold",
}


def configure(project: Path, stage: str = STAGE, /, **answers: str) -> None:
    """Configure a stage in a copy of the project, as `aurora-refresh configure` does."""
    configuring.write(configuring.changes(project, stage, answers))


class Project:
    """The Chalice app in a folder, whose `stage` is deployed to `account` of the `cloud`."""

    account = ACCEPTANCE
    stage = STAGE

    def __init__(self, cloud: LocalCloud, project: Path) -> None:
        self.cloud = cloud
        self.project = project
        self._inbox: str | None = None

    @cached_property
    def variables(self) -> dict[str, str]:
        """Return the stage's environment variables."""
        config = json.loads((self.project / ".chalice/config.json").read_text())
        found: dict[str, str] = config["stages"][self.stage]["environment_variables"]
        return found

    def client(self, service: str) -> Any:
        """Return a boto3 client of the account."""
        return self.cloud.client(service, self.account)

    def parameter(self, name: str) -> str:
        """Return a parameter's value."""
        value: str = self.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
        return value

    def put(self, name: str, value: str) -> None:
        """Write a parameter by hand."""
        ssm = self.client("ssm")
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def chalice(
        self, *arguments: str, stdin: str = "", progress: Callable[[str], None] | None = None
    ) -> str:
        """Run a command of Chalice on the project against the cloud; return its output.

        Raise RuntimeError if it fails, with the output unless ``progress`` has been given each line.
        """
        with subprocess.Popen(  # noqa: S603 (our own chalice)
            [Path(sys.executable).with_name("chalice"), *arguments],
            cwd=self.project,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(stdin)
            process.stdin.close()
            printed = ""
            for line in process.stdout:
                printed += line
                if progress:
                    progress(line.rstrip())
        if process.returncode != 0:
            output = "" if progress else f":\n{printed}"
            raise RuntimeError(f"chalice {' '.join(arguments)} failed{output}")
        return printed

    def environment(self) -> dict[str, str]:
        """Return the environment in which tools call this cloud only, and pip uses no index."""
        wheels = Path(sys.prefix) / "wheels"
        packed = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)} if wheels.exists() else {}
        return {**variables.cleared(os.environ), **self.cloud.environment(self.account), **packed}

    def rest_url(self) -> str | None:
        """Return the base URL of the API's deployed stage, without a trailing slash; None if there is none."""
        apigateway = self.client("apigateway")
        for api in apigateway.get_rest_apis()["items"]:
            for stage in apigateway.get_stages(restApiId=api["id"])["item"]:
                return f"{self.cloud.endpoint}/_aws/execute-api/{api['id']}/{stage['stageName']}"
        return None

    def signed(
        self, method: str, path: str, body: Any = None, credentials: Credentials | None = None
    ) -> tuple[int, Any]:
        """Call the deployed API, by default as the account's admin; return the status and the answer's JSON."""
        url = f"{self.rest_url()}{path}"
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = AWSRequest(method=method, url=url, data=data, headers=headers)
        caller = credentials or key_of(self.account).credentials()
        SigV4Auth(caller, "execute-api", REGION).add_auth(request)
        status, text = send(method, url, data, dict(request.headers))
        return status, json.loads(text)

    def subscribe(self, topic: str) -> None:
        """Subscribe a queue to the topic, in place of people."""
        sqs, sns = self.client("sqs"), self.client("sns")
        self._inbox = sqs.create_queue(QueueName="people")["QueueUrl"]
        queue = sqs.get_queue_attributes(QueueUrl=self._inbox, AttributeNames=["QueueArn"])
        sns.create_topic(Name=topic.rsplit(":", 1)[1])
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue["Attributes"]["QueueArn"])

    def notifications(self) -> list[dict[str, Any]]:
        """Return the notifications since the last call, oldest first."""
        if self._inbox is None:
            return []
        sqs = self.client("sqs")
        notifications = []
        box = {"QueueUrl": self._inbox}
        while messages := sqs.receive_message(**box, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                notifications.append(json.loads(message["Body"]))
                sqs.delete_message(**box, ReceiptHandle=message["ReceiptHandle"])
        return notifications


class Company(Project):
    """A company whose acceptance account refreshes its databases, on ``cloud``.

    `project` is the folder that holds app.py; its stage `local` names the parameters. `latest` and
    `current` belong to the first database.
    """

    def __init__(self, cloud: LocalCloud, project: Path, run_seconds: float = 0.4) -> None:
        super().__init__(cloud, project)
        self._run_seconds = run_seconds
        prefixes = self.variables.get("DATABASES", "RDS").split(",")
        self.databases = [self._database(prefix.strip()) for prefix in prefixes]
        self.latest = self.databases[0].latest
        self.current = self.databases[0].current

    def found(self, today: datetime, **pipeline: Any) -> None:
        """Create the state before the first night, with data of two weeks ago in acceptance.

        `pipeline` are further arguments of `create_pipeline`.
        """
        self.cloud.set_clock(today)
        parameters = {self.variables["SSM_MAIN_CICD_NAME"]: PIPELINE}
        for database in self.databases:
            first = database.nightly(today - timedelta(days=14))
            self.cloud.seed_snapshots([first])
            parameters |= {database.latest: "dummyvalue", database.current: arn_of(first)}
        if "SSM_REFRESH_HOLD_NAME" in self.variables:
            parameters[self.variables["SSM_REFRESH_HOLD_NAME"]] = "dummyvalue"
        for name, value in parameters.items():
            self.put(name, value)
        if "NOTIFICATION_TOPIC_ARN" in self.variables:
            self.subscribe(self.variables["NOTIFICATION_TOPIC_ARN"])
        restored = [each.restored() for each in self.databases]
        pipeline = {"stack": STACK, "run_seconds": 0.2, **pipeline}
        create_pipeline(self.cloud, PIPELINE, restored, **pipeline)
        run = self.cloud.client("codepipeline").start_pipeline_execution(name=PIPELINE)
        status = self.cloud.wait_for_run(run["pipelineExecutionId"], PIPELINE)
        if status != "Succeeded":
            raise RuntimeError(f"the company's first run of {PIPELINE} ended as {status}")
        self.cloud.patch_pipeline(PIPELINE, run_seconds=self._run_seconds)

    def share(self, night: datetime) -> list[dict[str, Any]]:
        """Seed a realistic mixture of shares; the newest eligible one was taken six hours ago."""
        nights = [night - timedelta(days=days, hours=6) for days in range(40)]
        engines = {"billing": "aurora-mysql", "documents": "docdb"}
        mixture = [nightly("orders", taken) for taken in nights if taken != nights[14]]
        mixture += [
            nightly(cluster, taken, engine=engine, engine_version=VERSIONS[engine])
            for cluster, engine in engines.items()
            for taken in nights
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

    def _database(self, prefix: str) -> Database:
        return Database(
            self.variables[f"SSM_{prefix}_LATEST_SNAPSHOT_NAME"],
            self.variables[f"SSM_{prefix}_CURRENT_SNAPSHOT_NAME"],
            self.variables.get(f"{prefix}_SOURCE_CLUSTER", "orders"),
            self.variables.get(f"{prefix}_ENGINE", "aurora-postgresql"),
        )

    def followed(self, execution_id: str, times: int = 1) -> str:
        """Wait until the run has ended and its event has been handled; return the run's status.

        A run that is retried ends several ``times``.
        """
        status = self.cloud.wait_for_run(execution_id, PIPELINE)

        def is_followed() -> bool:
            events = [record["event"] for record in self.cloud.invocations(FOLLOW)]
            runs = [event.get("detail", {}).get("execution-id") for event in events]
            return runs.count(execution_id) >= times

        # The status is visible before the event arrives.
        wait_until(is_followed, f"run {execution_id}, which {status}, to be followed")
        self.cloud.wait_until_idle()
        return status

    def good(self) -> str:
        """Return the value of the version of *current* that is marked good; "" if there is none."""
        pages = self.cloud.client("ssm").get_paginator("get_parameter_history")
        versions = pages.paginate(Name=self.current).search("Parameters")
        return next((each["Value"] for each in versions if "good" in each["Labels"]), "")

    def clusters(self) -> dict[str, str]:
        """Return acceptance's clusters with the ARNs of the snapshots that they were restored from."""
        described = self.cloud.client("rds").describe_db_clusters()["DBClusters"]
        return {
            cluster["DBClusterIdentifier"]: tag["Value"]
            for cluster in described
            for tag in cluster["TagList"]
            if tag["Key"] == "local:restored-from"
        }


def copy_project(project: Path, folder: Path) -> None:
    """Copy what Chalice deploys, without its records, and configure the stage `local` in the copy."""
    for name in ("app.py", "requirements.txt"):
        shutil.copy(project / name, folder / name)
    leftovers = shutil.ignore_patterns("__pycache__", "deployed", "deployments")
    for name in ("chalicelib", ".chalice"):
        shutil.copytree(project / name, folder / name, ignore=leftovers)
    configure(folder, **ANSWERS)


def nightly(cluster: str, taken: datetime, **facts: Any) -> dict[str, Any]:
    """Return a snapshot of a cluster that production has shared with acceptance."""
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
    """Return the ARN of a seeded snapshot."""
    where, name = f"arn:aws:rds:{REGION}:{snapshot['account']}", snapshot["identifier"]
    return f"{where}:cluster-snapshot:{name}"
