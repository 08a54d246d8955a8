"""What `deploy`, `package` and `destroy` decide before they call AWS, and what they say of the end.

tests/e2e/test_deploy_stage.py runs them against an account.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from chalicelib.domain.functions import RESTORE
from cli import calls, chalice_cli, deploy, destroy, look, stacks
from cli.output import Failure
from cli.policies import policies
from cli.stages import FORMER, load

PROJECT = Path(__file__).resolve().parents[2]
STAGE = load(PROJECT, "acceptance")


def test_chalice_packs_anew_what_lambda_can_read_and_people_read_the_end_of_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package that Chalice was stopped in writing lacks files, and it would use it again."""
    app, package = tmp_path / "app.py", tmp_path / ".chalice/deployments/half.zip"
    package.parent.mkdir(parents=True)
    package.touch()
    (tmp_path / "chalicelib").mkdir()
    app.touch(mode=0o600)
    with pytest.raises(Failure, match=rf"chmod -R go\+rX {app} "):
        chalice_cli.check_modes(tmp_path)
    app.chmod(0o644)
    chalice_cli.check_modes(tmp_path)
    trace = """Updating
  a policy
Traceback (most recent call last):
  File "x.py", line 1, in <module>
botocore.exceptions.ClientError: no right
"""
    run = Mock(stdout=trace.splitlines(keepends=True), returncode=2)
    run.__enter__ = lambda _: run
    run.__exit__ = lambda *_: None
    monkeypatch.setattr(chalice_cli.subprocess, "Popen", lambda *_, **__: run)
    with pytest.raises(Failure, match="chalice deploy --stage acceptance ended with status 2"):
        chalice_cli.run(tmp_path, STAGE, "deploy")
    assert not package.exists()
    said = ["Updating", "  a policy", "botocore.exceptions.ClientError: no right"]
    assert capsys.readouterr().out.splitlines() == said


@pytest.mark.parametrize("apis", [[], ["a1", "b2"]])
def test_chalice_finds_the_first_api_despite_its_record(tmp_path: Path, apis: list[str]) -> None:
    (tmp_path / ".chalice/deployed").mkdir(parents=True)
    record = tmp_path / ".chalice/deployed/acceptance.json"
    record.write_text('{"resources": [')
    chalice_cli.record(tmp_path, "acceptance", apis)
    found = json.loads(record.read_text())["resources"]
    assert [each["rest_api_id"] for each in found] == apis[:1]


def test_a_function_whose_creation_failed_is_made_anew() -> None:
    """Lambda cannot update it."""
    found = {"State": "Failed", "Role": "arn:aws:iam::222222222222:role/own"}
    seen = Mock(function_names={RESTORE: "restore"}, function=lambda _: found)
    (step,) = deploy._unusable(seen)  # noqa: SLF001
    assert str(step) == "  delete     function restore, whose creation failed"


def test_a_stage_with_stacks_or_roles_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack was created from a package, or by an earlier version. A role may be the company's."""
    former = "aurora-refresh-acceptance-after"
    role, other = f"aurora-refresh-acceptance-{RESTORE}", replace(STAGE, region="us-east-1")
    seen = Mock(caller=lambda: {"Arn": "me"}, stack=lambda name: name == former)
    seen.statements = lambda name: policies(other if name == role else STAGE)[RESTORE]["Statement"]
    monkeypatch.setattr(look, "Look", lambda _: seen)
    with pytest.raises(Failure, match=f"'acceptance' has the stack {former}, of ") as refused:
        look.opened(STAGE)
    deletion = "aws cloudformation delete-stack --stack-name aurora-refresh-acceptance"
    assert str(refused.value).count(deletion) == 3
    seen.stack = lambda _: None
    with pytest.raises(Failure, match=f"^role {role} .* writes to arn:aws:logs:us-east-1:"):
        look.opened(STAGE)
    look.opened(replace(STAGE, own_roles={RESTORE: "arn:…"}))


@pytest.mark.parametrize(
    ("function", "own_roles", "of_role"),
    [
        ({"VpcConfig": {"VpcId": ""}}, {}, "delete"),  # it has left its VPC
        ({"VpcConfig": {"VpcId": "vpc-1"}}, {}, "keep"),  # and here, Lambda needs the role
        (None, {}, "delete"),  # but no longer
        ({}, {FORMER: "arn:…:role/own"}, "delete"),  # Chalice made it before
        ({}, {FORMER: f"arn:…:role/aurora-refresh-acceptance-{FORMER}"}, ""),
        ({}, {RESTORE: f"arn:…:role/aurora-refresh-acceptance-{FORMER}"}, ""),  # another function's
    ],
)
def test_a_function_is_deleted_with_what_belongs_to_it_and_before_its_role(
    function: dict[str, Any] | None, own_roles: dict[str, str], of_role: str
) -> None:
    name = f"aurora-refresh-acceptance-{FORMER}"
    seen: Any = Mock(
        stage=replace(STAGE, own_roles=own_roles),
        one=lambda *_, **named: name in str(named),
        function=lambda _: function,
    )
    steps = [f"{each.verb} {each.what}".split(",")[0] for each in destroy.code(seen, [FORMER])]
    deleted = [] if function is None else [f"delete function {name}"]
    role = [f"{of_role} role {name}"] if of_role else []
    assert steps == [f"delete rule {name}-event", *deleted, *role]


def test_what_aws_refuses_at_first_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_POLL_SECONDS", 0)
    answer: Any = {"Error": {"Code": "InvalidParameterValueException", "Message": "no right"}}
    error = ClientError(answer, "PutFunctionEventInvokeConfig")
    put = Mock(side_effect=[error, {"done": 1}])
    seen: Any = Mock(stage=STAGE, alarms=dict, calls=Mock(call=put))
    first = next(deploy._monitoring(seen))  # noqa: SLF001
    assert first.act
    first.act()
    assert put.call_count == 2
    assert calls.wait_for(dict, -1) == {}  # not for ever
    with pytest.raises(ClientError):
        calls.wait_for(Mock(side_effect=error), -1, {"InvalidParameterValueException"})
    limited: Any = {"Error": {"Code": "TooManyRequestsException"}}
    gateway = Mock(delete_rest_api=Mock(side_effect=[ClientError(limited, "DeleteRestApi"), {}]))
    calls.Calls(Mock(client=Mock(return_value=gateway)), "eu-west-1").delete_rest_api("a1b2c3")
    assert gateway.delete_rest_api.call_count == 2


def test_what_a_deployment_would_remove_from_an_api_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: Any = Mock(stage=STAGE, one=lambda *_, **__: "{}")
    with pytest.raises(Failure, match="REST API a1 has a resource policy, which this would remove"):
        deploy._check_api(PROJECT, seen, ["a1"])  # noqa: SLF001
    config: dict[str, Any] = {"api_gateway_policy_file": "policy.json"}
    monkeypatch.setattr(deploy.stages, "read_config", lambda _: config)
    deploy._check_api(PROJECT, seen, ["a1"])  # noqa: SLF001
    config = {"api_gateway_endpoint_type": "PRIVATE"}  # whose policy Chalice writes
    deploy._check_api(PROJECT, seen, ["a1"])  # noqa: SLF001
    config["api_gateway_custom_domain"] = {"domain_name": "refresh.example"}
    with pytest.raises(Failure, match="api_gateway_custom_domain is not supported"):
        deploy._check_api(PROJECT, seen, [])  # noqa: SLF001


def test_only_alarms_that_are_no_longer_wanted_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been a production stage."""
    existing = [*stacks.alarms(STAGE, whatever_it_has=True), "aurora-refresh-acceptance-2-own"]
    seen: Any = Mock(stage=STAGE, alarms=lambda: dict.fromkeys(existing))

    def deleted() -> set[str]:
        return {each.what for each in deploy._monitoring(seen) if each.verb == "delete"}  # noqa: SLF001

    former = {"errors-db-share-snapshot", "errors-db-follow-shares", "follow-overdue"}
    former.add("share-overdue")
    assert deleted() == {f"alarm aurora-refresh-acceptance-{each}" for each in former}
    wanted = stacks.after(STAGE)
    wanted["Resources"] = {"One": wanted["Resources"].pop("AlarmRefreshFailed972c14")}
    monkeypatch.setattr(stacks, "after", lambda _: wanted)
    found = deleted()
    assert (len(found), "alarm aurora-refresh-acceptance-refresh-failed" in found) == (13, False)
