"""Executions of state machines, held to botocore's ``stepfunctions`` model and the Developer Guide."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.accounts import ACCEPTANCE, REGION
from localcloud.client import LocalCloud

# A client takes longer to make than most tests take to run.
client = cache(LocalCloud.client)
ARN = f"arn:aws:states:{REGION}:{ACCEPTANCE}:execution:work:one"


def read(parameter: str) -> dict[str, Any]:
    """A state that reads a parameter, and fails while there is none."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:ssm:getParameter",
        "Parameters": {"Name": parameter},
        "ResultSelector": {"value.$": "$.Parameter.Value"},
        "ResultPath": f"$.{parameter}",
        "End": True,
    }


WAIT = {"Type": "Wait", "Seconds": 60, "End": True}
PASS = {"Type": "Pass", "End": True}


@pytest.fixture
def start(cloud: LocalCloud) -> Callable[..., str]:
    """Create a machine of these states, one after the other, and start it as *one*; returns its ARN."""
    role = client(cloud, "iam").create_role(
        RoleName="machine",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}),
    )["Role"]["Arn"]

    def start_machine(*states: dict[str, Any], **more: Any) -> str:
        named = {f"S{number}": dict(state) for number, state in enumerate(states)}
        for number in range(len(states) - 1):
            del named[f"S{number}"]["End"]
            named[f"S{number}"]["Next"] = f"S{number + 1}"
        stepfunctions = client(cloud, "stepfunctions")
        machine = stepfunctions.create_state_machine(
            name="work",
            definition=json.dumps({"StartAt": "S0", "States": named, **more}),
            roleArn=role,
        )["stateMachineArn"]
        answer = stepfunctions.start_execution(
            stateMachineArn=machine, name="one", input='{"run": 1}'
        )
        arn: str = answer["executionArn"]
        return arn

    return start_machine


def allow(cloud: LocalCloud, action: str, resource: str) -> None:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    client(cloud, "iam").put_role_policy(
        RoleName="machine",
        PolicyName="tasks",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )


def put(cloud: LocalCloud, name: str, value: str) -> None:
    client(cloud, "ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)


def test_a_name_starts_one_execution(cloud: LocalCloud, start: Callable[..., str]) -> None:
    """StartExecution: the same name and input while it runs is the same execution, anything else an error."""
    arn = start(WAIT)
    stepfunctions = client(cloud, "stepfunctions")
    machine = arn.replace("execution", "stateMachine").removesuffix(":one")

    def again(**more: str) -> str:
        parameters = {"stateMachineArn": machine, "name": "one", "input": '{"run": 1}', **more}
        answer: str = stepfunctions.start_execution(**parameters)["executionArn"]
        return answer

    assert arn == again() == ARN
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        again(input="{}")


def test_a_redrive_continues_at_the_state_that_failed(
    cloud: LocalCloud, start: Callable[..., str]
) -> None:
    """RedriveExecution: "continues the failed execution from the unsuccessful step and uses the same input"."""
    allow(cloud, "ssm:GetParameter", "*")
    put(cloud, "first", "before")
    stepfunctions = client(cloud, "stepfunctions")

    arn = start(read("first"), read("second"))
    failed = cloud.wait_for_execution(arn)
    put(cloud, "first", "after")
    put(cloud, "second", "mended")
    stepfunctions.redrive_execution(executionArn=arn)
    redriven = cloud.wait_for_execution(arn)

    assert (failed["status"], failed["error"]) == ("FAILED", "Ssm.ParameterNotFoundException")
    assert failed["redriveStatus"] == "REDRIVABLE"
    assert (redriven["status"], redriven["redriveCount"]) == ("SUCCEEDED", 1)
    assert redriven["startDate"] == failed["startDate"]
    assert "error" not in redriven
    assert json.loads(redriven["output"]) == {
        "run": 1,
        "first": {"value": "before"},
        "second": {"value": "mended"},
    }
    with pytest.raises(ClientError, match="ExecutionNotRedrivable"):
        stepfunctions.redrive_execution(executionArn=arn)


def test_a_task_may_do_what_the_machines_role_may(
    cloud: LocalCloud, start: Callable[..., str]
) -> None:
    allow(cloud, "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCEPTANCE}:parameter/second")
    put(cloud, "first", "1")

    described = cloud.wait_for_execution(start(read("first")))

    assert described["status"] == "FAILED"
    assert "assumed-role/machine/" in described["cause"]
    assert "is not authorized to perform: ssm:GetParameter" in described["cause"]


def test_each_change_of_status_is_an_event(
    cloud: LocalCloud,
    start: Callable[..., str],
    received: Callable[[str], list[dict[str, Any]]],
) -> None:
    """*Step Functions Execution Status Change*."""
    received("aws.states")
    cloud.wait_for_execution(start(read("none")))
    client(cloud, "stepfunctions").redrive_execution(executionArn=ARN)
    cloud.wait_for_execution(ARN)

    events = received("aws.states")
    statuses = ["FAILED", "FAILED", "RUNNING", "RUNNING"]
    assert sorted(event["detail"]["status"] for event in events) == statuses
    running = next(
        event
        for event in events
        if event["detail"]["redriveCount"] == 1 and event["detail"]["status"] == "RUNNING"
    )
    assert running["detail-type"] == "Step Functions Execution Status Change"
    assert running["resources"] == [ARN]
    assert running["detail"] | {"startDate": 0, "redriveDate": 0} == {
        "executionArn": ARN,
        "stateMachineArn": ARN.replace("execution", "stateMachine").removesuffix(":one"),
        "name": "one",
        "status": "RUNNING",
        "startDate": 0,
        "stopDate": None,
        "input": '{"run":1}',
        "inputDetails": {"included": True},
        "output": None,
        "outputDetails": None,
        "error": None,
        "cause": None,
        "redriveCount": 1,
        "redriveDate": 0,
    }


def test_executions_are_weighed_by_their_arns(cloud: LocalCloud, start: Callable[..., str]) -> None:
    """*Actions, resources, and condition keys for AWS Step Functions*, Service Authorization Reference."""
    start(PASS)
    visitor = cloud.client("stepfunctions", user="visitor")

    for operation, resource, parameters in (
        (
            "StartExecution",
            "stateMachine:work",
            {"stateMachineArn": ARN.replace("execution:work:one", "stateMachine:work")},
        ),
        ("DescribeExecution", "execution:work:one", {"executionArn": ARN}),
        ("RedriveExecution", "execution:work:one", {"executionArn": ARN}),
    ):
        needed = f"states:{operation} on resource: arn:aws:states:{REGION}:{ACCEPTANCE}:{resource}"
        with pytest.raises(ClientError, match=needed):
            visitor._make_api_call(operation, parameters)  # noqa: SLF001
