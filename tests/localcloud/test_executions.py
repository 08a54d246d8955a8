"""Executions of state machines; what the after-restore work does is in tests/e2e/test_after_restore.py."""

import json
from time import sleep

from localcloud.accounts import ACCEPTANCE
from localcloud.client import LocalCloud
from tests.localcloud.probe import allow

WAITS_AND_PUTS = {
    "StartAt": "Wait",
    "States": {
        "Wait": {"Type": "Wait", "Seconds": 1, "Next": "Put"},
        "Put": {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:ssm:putParameter",
            "Parameters": {"Name": "/late", "Type": "String", "Value": "x"},
            "End": True,
        },
    },
}


def create_role(cloud: LocalCloud) -> None:
    iam = cloud.client("iam")
    iam.create_role(RoleName="machine", AssumeRolePolicyDocument="{}")
    iam.put_role_policy(
        RoleName="machine", PolicyName="put", PolicyDocument=allow("ssm:PutParameter", "*")
    )


def test_a_reset_stops_a_running_state_machine(cloud: LocalCloud) -> None:
    """It would go on as soon as there is a role of the same name."""
    create_role(cloud)
    stepfunctions = cloud.client("stepfunctions")
    machine = stepfunctions.create_state_machine(
        name="machine",
        definition=json.dumps(WAITS_AND_PUTS),
        roleArn=f"arn:aws:iam::{ACCEPTANCE}:role/machine",
    )
    stepfunctions.start_execution(stateMachineArn=machine["stateMachineArn"])

    cloud.reset()

    create_role(cloud)
    sleep(1.5)
    assert cloud.client("ssm").describe_parameters()["Parameters"] == []
