"""The function ``probe`` in the local cloud: deployed, permitted, invoked, and the target of a rule."""

import io
import json
import textwrap
import zipfile
from typing import Any

from localcloud.client import LocalCloud

ECHO = "def handler(event, context): return event"


def package(source: str) -> bytes:
    """A deployment package of one module, ``app``."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("app.py", textwrap.dedent(source))
    return target.getvalue()


def allow(action: str, resource: str) -> str:
    """A policy that allows one action on one resource."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def create_function(cloud: LocalCloud, source: str, **configuration: Any) -> str:
    """Deploy the function ``probe`` from its module's source, whose ``handler`` it runs; returns its ARN."""
    role = cloud.client("iam").create_role(RoleName="probe-role", AssumeRolePolicyDocument="{}")
    function = cloud.client("lambda").create_function(
        FunctionName="probe",
        Runtime="python3.11",
        Role=role["Role"]["Arn"],
        Handler="app.handler",
        Code={"ZipFile": package(source)},
        **configuration,
    )
    return str(function["FunctionArn"])


def permit(cloud: LocalCloud, service: str, source: str) -> None:
    """Let a service invoke ``probe`` on behalf of a rule or an API, by its ARN."""
    cloud.client("lambda").add_permission(
        FunctionName="probe",
        StatementId=service,
        Action="lambda:InvokeFunction",
        Principal=f"{service}.amazonaws.com",
        SourceArn=source,
    )


def create_rule(cloud: LocalCloud, **facts: str) -> str:
    """Deploy ``probe``, which returns its events, as the target of a rule; returns the rule's ARN."""
    function, events = create_function(cloud, ECHO), cloud.client("events")
    rule: str = events.put_rule(Name="rule", **facts)["RuleArn"]
    events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": function}])
    return rule


def invoke(cloud: LocalCloud, event: Any = None) -> tuple[str | None, Any]:
    """Invoke ``probe``; returns its FunctionError and its payload."""
    payload = json.dumps(event or {})
    answer = cloud.client("lambda").invoke(FunctionName="probe", Payload=payload)
    return answer.get("FunctionError"), json.loads(answer["Payload"].read())
