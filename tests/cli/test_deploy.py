"""What `deploy`, `package` and `destroy` decide before they call AWS, and what they say of the end.

tests/e2e/test_deploy_stage.py runs them against an account.
"""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.stub import Stubber

from cli import account, deploy, restapi, stacks
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


def test_of_a_stack_trace_of_chalice_people_read_the_end_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = """Updating
  a policy
Traceback (most recent call last):
  File "x.py", line 1, in <module>
botocore.exceptions.ClientError: no right
"""
    run = Mock(stdout=trace.splitlines(keepends=True), returncode=2)
    run.__enter__ = lambda _: run
    run.__exit__ = lambda *_: None
    monkeypatch.setattr(account.subprocess, "Popen", lambda *_, **__: run)
    said: list[str] = []
    with pytest.raises(StageError, match="chalice deploy --stage acceptance ended with status 2"):
        account.chalice(PROJECT, STAGE, "deploy", said.append)
    assert said == ["Updating", "  a policy", "botocore.exceptions.ClientError: no right"]


def test_the_main_pipelines_name_follows_the_stage_if_it_was_made_for_it() -> None:
    name = STAGE.settings.promotion_parameters[0]

    def steps(*, ours: bool) -> list[str]:
        held = {name: "former", STAGE.settings.promotion_parameters[1]: "dummyvalue"}
        seen: Any = Mock(stage=STAGE, topic=None, parameters=lambda: held)
        seen.has_made = lambda _: ours
        found = deploy._foundations(seen, {}, None)  # noqa: SLF001
        return [f"{each.verb} {each.what}" for each in found][:2]

    latest = (
        f"unchanged parameter {STAGE.settings.promotion_parameters[1]}, which exists: dummyvalue"
    )
    assert steps(ours=True) == [f"set parameter {name} to acceptance-main", latest]
    assert steps(ours=False) == [f"unchanged parameter {name}, which exists: former", latest]


def test_the_recorded_rest_api_is_used_or_else_the_first_and_without_one_chalice_forgets_it(
    tmp_path: Path,
) -> None:
    """Its record need not be whole. By the rest, Chalice deletes what a new version no longer has."""
    record = tmp_path / restapi.record_of("acceptance")
    record.parent.mkdir(parents=True)
    names = ["old", "api_handler", "api_handler_role"]
    resources = [{"name": name, "resource_type": "lambda_function"} for name in names]

    def recorded(*apis: str) -> list[str]:
        restapi.record(tmp_path, "acceptance", apis)
        found = json.loads(record.read_text())["resources"]
        return [each.get("rest_api_id", each["name"]) for each in found]

    record.write_text('{"resources": [')
    assert recorded("a1", "b2") == ["a1"]
    record.write_text(json.dumps({"resources": resources}))
    assert recorded("b2") == [*names, "b2"]
    assert recorded("a1", "b2") == [*names, "b2"]
    assert recorded() == ["old"]


def test_a_stage_whose_functions_a_package_deployed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packaged = Mock(check=lambda: "me", one=lambda *_, **named: "CREATE_COMPLETE")
    monkeypatch.setattr(account, "Account", lambda _: packaged)
    with pytest.raises(StageError, match="'acceptance' was deployed from the templates of"):
        account.opened(STAGE, print)


def test_alarms_that_a_stage_has_no_longer_are_deleted_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole: Any = Mock(stage=STAGE, alarms=list, one=lambda *_, **named: None)
    assert not [each for each in deploy._monitoring(whole) if each.verb == "delete"]  # noqa: SLF001
    wanted = stacks.after(STAGE)
    wanted["Resources"] = {"One": wanted["Resources"].pop("AlarmRefreshFailed972c14")}
    monkeypatch.setattr(stacks, "after", lambda _: wanted)
    deleted = {each.what for each in deploy._monitoring(whole) if each.verb == "delete"}  # noqa: SLF001
    assert (len(deleted), "alarm aurora-refresh-acceptance-refresh-failed" in deleted) == (8, False)
    assert Account(STAGE).alarms([]) == []  # without a call, which would list everybody's


def test_the_stack_that_held_the_alarms_of_earlier_versions_is_deleted_before_they_are_set() -> (
    None
):
    former: Any = Mock(stage=STAGE, alarms=list, one=lambda *_, **named: "CREATE_COMPLETE")
    first, second, *_ = deploy._monitoring(former)  # noqa: SLF001
    assert (first.verb, first.what) == ("delete", "stack aurora-refresh-acceptance-after")
    assert second.verb == "set"


def test_whoever_has_unsubscribed_is_no_subscriber(monkeypatch: pytest.MonkeyPatch) -> None:
    """SNS lists the address for three days."""
    found = {"arn:1": "a@b.de", "PendingConfirmation": "b@b.de", "Deleted": "c@b.de"}
    listed = [{"SubscriptionArn": arn, "Endpoint": each} for arn, each in found.items()]
    client = boto3.client("sns", "eu-west-1")
    monkeypatch.setattr(Account, "client", lambda *_: client)
    with Stubber(client) as stub:
        stub.add_response("list_subscriptions_by_topic", {"Subscriptions": listed})
        assert Account(STAGE).subscribers() == ["a@b.de", "b@b.de"]
