"""The function ``probe`` in the local cloud: deployed, permitted, and the target of a rule."""

import io
import textwrap
import zipfile
from typing import Any

from localcloud.client import LocalCloud

ECHO = "def handler(event, context): return event"


def create_function(cloud: LocalCloud, source: str, **configuration: Any) -> str:
    """Deploy the function ``probe`` from its module's source, whose ``handler`` it runs; returns its ARN."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", textwrap.dedent(source))
    role = cloud.client("iam").create_role(RoleName="probe-role", AssumeRolePolicyDocument="{}")
    function = cloud.client("lambda").create_function(
        FunctionName="probe",
        Runtime="python3.11",
        Role=role["Role"]["Arn"],
        Handler="app.handler",
        Code={"ZipFile": package.getvalue()},
        **configuration,
    )
    return str(function["FunctionArn"])


def permit(cloud: LocalCloud, rule: str) -> None:
    """Let EventBridge invoke ``probe`` on behalf of a rule, by its ARN."""
    cloud.client("lambda").add_permission(
        FunctionName="probe",
        StatementId=rule.rpartition("/")[2],
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )


def create_rule(cloud: LocalCloud, **facts: str) -> str:
    """Deploy ``probe``, which returns its events, as the target of a rule; returns the rule's ARN."""
    function, events = create_function(cloud, ECHO), cloud.client("events")
    rule: str = events.put_rule(Name="rule", **facts)["RuleArn"]
    events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": function}])
    return rule
