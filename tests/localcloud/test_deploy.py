"""The whole: a real ``chalice deploy`` into the local cloud, every trigger, and nothing left after."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localcloud import variables
from localcloud.client import LocalCloud, send

Chalice = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def chalice(cloud: LocalCloud, tmp_path: Path) -> Chalice:
    """Runs ``chalice COMMAND --stage test …`` in a copy of the tiny app."""
    app = tmp_path / "tinyapp"
    shutil.copytree(Path(__file__).with_name("tinyapp"), app)

    def run(command: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        program = "import sys; from chalice.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", program, command, "--stage", "test", *arguments],
            cwd=app,
            env={**variables.cleared(os.environ), **cloud.environment()},
            input=given,
            capture_output=True,
            text=True,
            check=True,
        )

    return run


def test_an_app_is_deployed_twice_used_and_deleted(cloud: LocalCloud, chalice: Chalice) -> None:
    chalice("deploy")
    first = cloud.rest_url("tiny")
    chalice("deploy")
    assert cloud.rest_url("tiny") == first is not None

    run = {
        "version": "0",
        "id": "event",
        "account": "222222222222",
        "time": "2026-01-04T04:00:00Z",
        "region": "eu-west-1",
        "resources": [],
        "source": "aws.codepipeline",
        "detail-type": "CodePipeline Pipeline Execution State Change",
        "detail": {"pipeline": "main", "state": "FAILED"},
    }
    invoked = chalice("invoke", "--name", "follow", given=json.dumps(run))
    assert json.loads(invoked.stdout) == run["detail"]

    night = datetime(2026, 1, 4, 4, tzinfo=UTC)
    cloud.set_clock(night)
    [record] = cloud.fire("nightly", night)
    assert record["payload"]["event"]["time"] == "2026-01-04T04:00:00Z"
    assert record["payload"]["now"].startswith("2026-01-04T04:00")
    assert record["payload"]["who"].endswith(":assumed-role/tiny-test-nightly/tiny-test-nightly")

    status, answer = cloud.signed(
        "PUT", "/things/one%20two?database=a%2Fb", {"reason": "Grüße"}, api_name="tiny"
    )
    assert (status, answer.pop("identity")["userArn"]) == (
        200,
        "arn:aws:iam::222222222222:user/admin",
    )
    assert answer == {
        "name": "one two",
        "method": "PUT",
        "body": {"reason": "Grüße"},
        "query": {"database": "a/b"},
        "stage": "test",
    }
    assert send("GET", f"{first}/things/one", None, {}) == (
        403,
        '{"message": "Missing Authentication Token"}',
    )

    chalice("delete")
    assert cloud.client("lambda").list_functions()["Functions"] == []
    assert cloud.client("iam").list_roles()["Roles"] == []
    assert cloud.client("events").list_rules()["Rules"] == []
    assert cloud.client("apigateway").get_rest_apis()["items"] == []
