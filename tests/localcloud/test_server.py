"""How the local cloud starts over, and ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud.client import LocalCloud, wait_until
from tests.localcloud.conftest import package

PROJECT = Path(__file__).parents[2]
SLOW = "import time\ndef handler(event, context): time.sleep(50)"


def test_reset_puts_everything_back(cloud: LocalCloud) -> None:
    cloud.client("ssm").put_parameter(Name="latest", Value="gone", Type="String")
    cloud.reset()
    assert cloud.client("ssm").describe_parameters()["Parameters"] == []
    users = cloud.client("iam").list_users()["Users"]
    assert sorted(user["UserName"] for user in users) == ["admin", "visitor"]


def test_a_reset_ends_what_a_state_machine_does(cloud: LocalCloud) -> None:
    iam = cloud.client("iam")
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]
    statement = {"Effect": "Allow", "Action": "sns:ListTopics", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="r", PolicyName="list", PolicyDocument=policy)
    task = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sns:listTopics"}
    states = {
        "First": {**task, "Next": "Wait"},  # It takes longer than the one after the reset.
        "Wait": {"Type": "Wait", "Seconds": 1, "Next": "Second"},
        "Second": {**task, "End": True},
    }
    stepfunctions = cloud.client("stepfunctions")
    machine = stepfunctions.create_state_machine(
        name="m",
        definition=json.dumps({"StartAt": "First", "States": states}),
        roleArn=role["Arn"],
    )["stateMachineArn"]
    arn = stepfunctions.start_execution(stateMachineArn=machine)["executionArn"]

    def waits() -> bool:
        history = stepfunctions.get_execution_history(executionArn=arn)["events"]
        return "WaitStateEntered" in [event["type"] for event in history]

    wait_until(waits, "the state machine to wait")
    cloud.reset()
    iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    time.sleep(2.5)
    assert [call["operation"] for call in cloud.calls()] == ["iam:CreateRole"]


def interrupt(server: subprocess.Popen[str]) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        server.send_signal(number)
        time.sleep(0.01)


def close_stdin(server: subprocess.Popen[str]) -> None:
    """As the end of the process that holds it does, however that ends."""
    assert server.stdin is not None
    server.stdin.close()


@pytest.mark.parametrize("end", [interrupt, close_stdin])
def test_a_cloud_ends_and_leaves_neither_a_process_nor_a_file_behind(
    tmp_path: Path, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "localcloud", "--until-eof"],
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        assert server.stderr is not None
        cloud = LocalCloud(server.stdout.readline().strip())
        role = cloud.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
        functions = cloud.client("lambda")
        functions.create_function(
            FunctionName="probe",
            Runtime="python3.11",
            Role=role["Role"]["Arn"],
            Handler="app.handler",
            Timeout=60,
            Code={"ZipFile": package(SLOW)},
        )
        functions.invoke(FunctionName="probe", InvocationType="Event", Payload="1")
        while not (processes := children(server.pid)):
            time.sleep(0.02)
        end(server)
        assert (server.wait(60), server.stderr.read(), [*tmp_path.iterdir()]) == (0, "", [])
    while any(Path(f"/proc/{pid}").exists() for pid in processes):
        time.sleep(0.02)


def children(pid: int) -> list[str]:
    """Return the processes that a process has started."""
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.split()
