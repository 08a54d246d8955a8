"""Compared with the Lambda Developer Guide and, for what invokes a function, the EventBridge User Guide."""

import io
import json
import textwrap
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from localcloud import environments
from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud
from localcloud.environments import Environment


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


def test_a_function_runs_in_lambdas_environment_with_its_own_rights(cloud: LocalCloud) -> None:
    """ "Defined runtime environment variables"; *Building Lambda functions with Python*: the runtime has boto3."""
    create_function(
        cloud,
        """
        import importlib.util, os, boto3
        def handler(event, context):
            return {
                "importable": [name for name in event if importlib.util.find_spec(name)],
                "name": context.function_name,
                "variables": dict(os.environ),
                "who": boto3.client("sts").get_caller_identity()["Arn"],
            }
        """,
        Environment={"Variables": {"SOURCE_ACCOUNT": "111111111111"}},
    )
    modules = ["app", "boto3", "awslambdaric", "chalice", "moto", "pytest"]
    answer = cloud.client("lambda").invoke(FunctionName="probe", Payload=json.dumps(modules))
    seen = json.loads(answer["Payload"].read())
    assert seen["importable"] == ["app", "boto3", "awslambdaric"]
    assert seen["name"] == "probe"
    assert seen["variables"]["SOURCE_ACCOUNT"] == "111111111111"
    assert seen["variables"].keys().isdisjoint({"HOME", "VIRTUAL_ENV", "PYTHONPATH"})
    assert seen["who"] == f"arn:aws:sts::{ACCEPTANCE}:assumed-role/probe-role/probe"
    assert [call["operation"] for call in cloud.calls("probe")] == ["sts:GetCallerIdentity"]


SLOW = """
import os, time
def handler(event, context):
    print(os.getpid())
    time.sleep(0.5)
"""


def test_an_event_waits_for_reserved_concurrency_and_uses_up_no_attempt(cloud: LocalCloud) -> None:
    """*Configuring reserved concurrency*."""
    create_function(cloud, SLOW)
    functions = cloud.client("lambda")
    functions.put_function_concurrency(FunctionName="probe", ReservedConcurrentExecutions=1)
    for _ in range(2):
        functions.invoke(FunctionName="probe", InvocationType="Event", Payload="{}")
    cloud.wait_until_idle()
    first, second = cloud.invocations()
    assert first["log"] == second["log"]
    assert {(each["attempt"], each["status"]) for each in (first, second)} == {(1, "succeeded")}


NIGHT = datetime(2026, 1, 4, 4, tzinfo=UTC)
REFUSED = "no enabled schedule may deliver"


def test_an_enabled_and_permitted_schedule_delivers_the_documented_event(cloud: LocalCloud) -> None:
    """*Creating a rule that runs on a schedule*; *Resource-based policies for EventBridge*."""
    function = create_function(cloud, "def handler(event, context): return event")
    events = cloud.client("events")
    rule = events.put_rule(Name="rule", ScheduleExpression="rate(7 days)")["RuleArn"]
    events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": function}])

    def permit(source: str) -> None:
        cloud.client("lambda").add_permission(
            FunctionName="probe",
            StatementId=source.rpartition("/")[2],
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=source,
        )

    permit(f"{rule}-of-another-name")
    with pytest.raises(ValueError, match=REFUSED):
        cloud.fire("probe", NIGHT)
    permit(rule)
    event_id = "89d1a02d-5ec7-412e-82f5-13505f849b41"
    [record] = cloud.fire("probe", NIGHT, event_id=event_id)
    assert record["payload"] == {
        "version": "0",
        "id": event_id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "222222222222",
        "time": "2026-01-04T04:00:00Z",
        "region": "eu-west-1",
        "resources": [rule],
        "detail": {},
    }
    events.disable_rule(Name="rule")
    with pytest.raises(ValueError, match=REFUSED):
        cloud.fire("probe", NIGHT)


def test_without_awslambdaric_a_plain_loop_runs_the_package_until_it_is_out_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """*Understanding the Lambda execution environment lifecycle*; on a machine without a wheel of awslambdaric."""
    source = "import time\ndef handler(event, context): return [time.sleep(event), 1 / (1 - event)]"
    (tmp_path / "app.py").write_text(source)
    configuration = {
        "FunctionName": "probe",
        "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCEPTANCE}:function:probe",
        "Handler": "app.handler",
        "Runtime": "python3.11",
        "Timeout": 2,
        "MemorySize": 128,
    }
    keys, none = Credentials("A", "B", "C"), tmp_path / "none"
    plain = Environment(configuration, tmp_path, none, keys, "http://none", tmp_path)
    good, bad = plain.invoke("one", b"0"), plain.invoke("two", b"1")
    assert (good.succeeded, json.loads(good.payload)) == (True, [None, 1.0])
    assert (bad.succeeded, json.loads(bad.payload)["errorType"]) == (False, "ZeroDivisionError")
    monkeypatch.setattr(environments, "_INIT_SECONDS", 1000)  # which a warm one does not need
    late = plain.invoke("three", b"5")
    assert (json.loads(late.payload)["errorType"], plain.alive) == ("Sandbox.Timedout", False)
    plain.end()
