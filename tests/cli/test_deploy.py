"""What `deploy`, `package` and `destroy` decide before they call AWS, and what they say of the end.

tests/e2e/test_deploy_stage.py runs them against an account.
"""

import json
import re
from pathlib import Path
from unittest.mock import Mock

import boto3
import pytest
from botocore.stub import Stubber

from chalicelib.domain.errors import AwsError
from cli import account, deploy, restapi
from cli.account import Account
from cli.stages import StageError, load

PROJECT = Path(__file__).resolve().parents[2]
STAGE = load(PROJECT, "acceptance")


def test_a_runtime_that_is_not_the_one_tested_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalice.config.Config.lambda_python_version", "python3.14")
    assert account.runtime() == (
        "the functions get the runtime python3.14, but are tested with python3.11: "
        "make clean, and then make PYTHON=python3.11 setup"
    )


def test_current_may_begin_with_production_s_snapshot_or_the_account_s_own() -> None:
    current = "/acceptance/rds/current-snapshot"
    own = "arn:aws:rds:eu-west-1:222222222222:cluster-snapshot:orders-1"
    production = own.replace("222222222222", "111111111111")
    assert deploy.first_values(STAGE, {deploy.INITIAL: production}) == {current: production}
    assert deploy.first_values(STAGE, {f"RDS_{deploy.INITIAL}": own}) == {current: own}


def test_of_several_rest_apis_the_recorded_one_is_used_and_otherwise_the_choice_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restapi, "invoking", lambda *_: ["a1", "b2"])
    (tmp_path / ".chalice").mkdir()

    def said(recorded: str) -> list[str | None]:
        restapi.record(tmp_path, "acceptance", recorded)
        lines: list[str] = []
        found = deploy.find_api(tmp_path, Mock(stage=STAGE), lines.append)
        return [found, *(re.split(", which| also", line)[0].strip() for line in lines)]

    chosen = "found      REST API a1, the first of 2 by creation time and id"
    assert said("gone") == ["a1", chosen, "note: REST API b2"]
    assert said("b2") == ["b2", "note: REST API a1"]


def test_chalice_s_record_keeps_what_is_not_the_api_s_and_need_not_be_whole(tmp_path: Path) -> None:
    """A function that a version no longer has is deleted by it."""
    record = tmp_path / restapi.record_of("acceptance")
    record.parent.mkdir(parents=True)
    names = ["old", "api_handler", "api_handler_role"]
    resources = [{"name": name, "resource_type": "lambda_function"} for name in names]
    record.write_text(json.dumps({"resources": resources}))
    for api, kept in (("a1", [*names, "rest_api"]), (None, ["old"])):
        restapi.record(tmp_path, "acceptance", api)
        assert restapi.recorded(tmp_path, "acceptance") == api
        assert [each["name"] for each in json.loads(record.read_text())["resources"]] == kept
    record.write_text('{"resources": [')
    assert restapi.recorded(tmp_path, "acceptance") is None


def test_whoever_has_unsubscribed_is_no_subscriber(monkeypatch: pytest.MonkeyPatch) -> None:
    """SNS lists the address for three days."""
    found = {"arn:1": "a@b.de", "PendingConfirmation": "b@b.de", "Deleted": "c@b.de"}
    listed = [{"SubscriptionArn": arn, "Endpoint": each} for arn, each in found.items()]
    client = boto3.client("sns", "eu-west-1")
    monkeypatch.setattr(Account, "client", lambda *_: client)
    with Stubber(client) as stub:
        stub.add_response("list_subscriptions_by_topic", {"Subscriptions": listed})
        assert Account(STAGE).subscribers() == ["a@b.de", "b@b.de"]


def test_a_refused_signature_as_with_a_wrong_clock_is_explained_by_aws() -> None:
    error = AwsError("GetCallerIdentity", "", "SignatureDoesNotMatch", "Signature expired: 1 < 2")
    expected = "^AWS refused GetCallerIdentity: SignatureDoesNotMatch: Signature expired: 1 < 2$"
    with pytest.raises(StageError, match=expected), account.in_plain_words():
        raise error
