"""PUT /snapshots/current over HTTP, signed as API Gateway wants it."""

import hashlib
import json
import shutil
import subprocess
from typing import Any

import pytest

from localcloud.accounts import ACCEPTANCE, STRANGER
from localcloud.company import arn_of, nightly
from tests.e2e.conftest import Night

ROUTE = "/snapshots/current"


def history(night: Night) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = night.cloud.client("ssm").get_parameter_history(
        Name=night.company.current
    )["Parameters"]
    return kept


def test_a_signed_pin_moves_current_and_says_who_did(night: Night) -> None:
    status, answer = night.cloud.signed("PUT", ROUTE, {"snapshot": night.new, "reason": "why not"})
    newest = history(night)[-1]
    assert (status, answer) == (
        200,
        {
            "current": night.new,
            "previous": night.old,
            "version": newest["Version"],
            "execution_id": None,
            "under_way": None,
        },
    )
    assert newest["Value"] == night.new
    assert json.loads(newest["Description"]) == {
        "action": "pin",
        "by": f"arn:aws:iam::{ACCEPTANCE}:user/admin",
        "why": "why not",
        "token": None,
        "of": hashlib.sha256(night.new.encode()).hexdigest()[:16],
    }
    assert night.runs() == []


def test_a_pin_with_deploy_restores_now(night: Night) -> None:
    status, answer = night.cloud.signed("PUT", ROUTE, {"snapshot": night.new, "deploy": True})
    assert status == 200
    (run,) = night.runs()
    assert (run["pipelineExecutionId"], run["status"]) == (answer["execution_id"], "Succeeded")
    assert list(night.company.clusters().values()) == [night.new]
    assert len(night.calls("aurora-refresh-local")) <= 6


def test_a_pin_with_deploy_is_refused_while_a_run_is_in_progress(night: Night) -> None:
    night.cloud.patch_pipeline("acceptance-main", hold=["Build"])
    pipelines = night.cloud.client("codepipeline")
    run = pipelines.start_pipeline_execution(name="acceptance-main")["pipelineExecutionId"]
    night.cloud.wait_until_held("acceptance-main", "Build")
    status, answer = night.cloud.signed("PUT", ROUTE, {"snapshot": night.new, "deploy": True})
    night.cloud.patch_pipeline("acceptance-main", hold=[])
    night.runs()
    when = f"{night.two:%Y-%m-%d %H:%M} UTC"
    assert (status, answer) == (
        409,
        {
            "Code": "ConflictError",
            "Message": f"pipeline acceptance-main is busy with run {run}, started {when}, in stage "
            f"Build, action Build since {when}; try again when it has ended",
        },
    )
    assert night.current() == night.old


def test_a_share_is_pinned_by_its_bare_name(night: Night) -> None:
    status, _ = night.cloud.signed("PUT", ROUTE, {"snapshot": night.new.rsplit(":", 1)[1]})
    assert (status, night.current()) == (200, night.new)


def test_latest_is_pinned_by_that_word(night: Night) -> None:
    night.update()
    status, _ = night.cloud.signed("PUT", ROUTE, {"snapshot": "latest"})
    assert (status, night.current()) == (200, night.new)


def test_a_refused_pin_writes_nothing(night: Night) -> None:
    foreign = nightly("orders", night.two, identifier="orders-for-pin", account=STRANGER)
    billing = nightly("billing", night.two, identifier="billing-for-pin", engine="aurora-mysql")
    night.cloud.seed_snapshots([foreign, billing])
    versions = len(history(night))
    wishes: list[tuple[dict[str, str], int]] = [
        ({}, 400),
        ({"snapshot": "no such name!"}, 400),
        ({"snapshot": "unheard-of"}, 404),
        ({"snapshot": night.new, "database": "orders"}, 404),
        ({"snapshot": "billing-for-pin"}, 409),
        ({"snapshot": arn_of(foreign)}, 409),
    ]
    for wish, status in wishes:
        answered, answer = night.cloud.signed("PUT", ROUTE, wish)
        assert (wish, answered, sorted(answer)) == (wish, status, ["Code", "Message"])
    assert len(history(night)) == versions


def test_what_aws_did_not_do_is_told_without_a_stack_trace(night: Night) -> None:
    night.cloud.set_faults([{"operation": "ssm:PutParameter", "kind": "deny", "times": 0}])
    status, answer = night.cloud.signed("PUT", ROUTE, {"snapshot": night.new})
    assert (status, answer["Code"]) == (500, "ChaliceViewError")
    assert answer["Message"].startswith("PutParameter of /acceptance/rds/current-snapshot failed: ")
    assert "Traceback" not in answer["Message"]


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl on this machine")
def test_curl_signs_as_the_readme_says(night: Night) -> None:
    variables = night.cloud.environment()
    printed = subprocess.run(
        [
            "curl",
            "--silent",
            "--aws-sigv4",
            "aws:amz:eu-west-1:execute-api",
            "--user",
            f"{variables['AWS_ACCESS_KEY_ID']}:{variables['AWS_SECRET_ACCESS_KEY']}",
            "-X",
            "PUT",
            "-H",
            "Content-Type: application/json",
            "-d",
            json.dumps({"snapshot": night.new}),
            f"{night.cloud.rest_url()}{ROUTE}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(printed.stdout)["current"] == night.new


def test_an_own_snapshot_is_pinned(night: Night) -> None:
    own = nightly(
        "acceptance-orders", night.two, identifier="before-the-test", account=ACCEPTANCE
    ) | {"shared_with": []}
    night.cloud.seed_snapshots([own])
    status, answer = night.cloud.signed("PUT", ROUTE, {"snapshot": "before-the-test"})
    assert (status, answer["current"]) == (200, arn_of(own))
