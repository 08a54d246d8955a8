"""Functions to deploy into the local cloud."""

import io
import json
import textwrap
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from localcloud.client import LocalCloud


def package(source: str) -> bytes:
    """A deployment package of one module, ``app``."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("app.py", textwrap.dedent(source))
    return target.getvalue()


@pytest.fixture
def deploy(cloud: LocalCloud) -> Callable[..., str]:
    """Deploy a function from its module's source, whose ``handler`` it runs; returns its ARN."""

    def deploy_function(source: str, name: str = "probe", **configuration: Any) -> str:
        role = cloud.client("iam").create_role(
            RoleName=f"{name}-role", AssumeRolePolicyDocument="{}"
        )
        function = cloud.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=role["Role"]["Arn"],
            Handler="app.handler",
            Code={"ZipFile": package(source)},
            **configuration,
        )
        arn: str = function["FunctionArn"]
        return arn

    return deploy_function


@pytest.fixture
def invoke(cloud: LocalCloud) -> Callable[..., tuple[str | None, Any]]:
    """Invoke the function ``probe``; returns its FunctionError and its payload."""

    def invoke_function(event: Any = None, name: str = "probe") -> tuple[str | None, Any]:
        answer = cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event or {}))
        return answer.get("FunctionError"), json.loads(answer["Payload"].read())

    return invoke_function


@pytest.fixture
def received(
    cloud: LocalCloud, deploy: Callable[..., str]
) -> Callable[[str], list[dict[str, Any]]]:
    """Returns what a function received of a service's events, to which it is subscribed by the first call."""
    targets: dict[str, str] = {}

    def list_received(source: str) -> list[dict[str, Any]]:
        if not targets:
            events = cloud.client("events")
            targets[source] = deploy("def handler(event, context):\n    return event")
            rule = events.put_rule(Name="rule", EventPattern=json.dumps({"source": [source]}))
            events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": targets[source]}])
            cloud.client("lambda").add_permission(
                FunctionName="probe",
                StatementId="events",
                Action="lambda:InvokeFunction",
                Principal="events.amazonaws.com",
                SourceArn=rule["RuleArn"],
            )
        cloud.wait_until_idle()
        return [record["event"] for record in cloud.invocations("probe")]

    return list_received
