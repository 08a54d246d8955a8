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
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        role = cloud.client("iam").create_role(
            RoleName=f"{name}-role", AssumeRolePolicyDocument=json.dumps(trust)
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
def redeploy(cloud: LocalCloud) -> Callable[[str], None]:
    """Give the function ``probe`` new code."""

    def update(source: str) -> None:
        cloud.client("lambda").update_function_code(FunctionName="probe", ZipFile=package(source))

    return update


@pytest.fixture
def invoke(cloud: LocalCloud) -> Callable[..., tuple[str | None, Any]]:
    """Invoke the function ``probe``; returns its FunctionError and its payload."""

    def invoke_function(event: Any = None, name: str = "probe") -> tuple[str | None, Any]:
        answer = cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event or {}))
        return answer.get("FunctionError"), json.loads(answer["Payload"].read())

    return invoke_function
