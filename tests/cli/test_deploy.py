"""What `deploy`, `package` and `destroy` decide before they call AWS, and what they say of the end.

tests/e2e/test_deploy_stage.py runs them against an account.
"""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner, Result

from cli import account, deploy, destroy, restapi
from cli.account import Account
from cli.main import cli
from cli.package import next_steps
from cli.stages import CONFIG, StageError, load

PROJECT = Path(__file__).resolve().parents[2]
PRODUCTION, ACCEPTANCE = "111111111111", "222222222222"
CURRENT = "/acceptance/rds/current-snapshot"
CREDENTIALS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
SNAPSHOT = f"arn:aws:rds:eu-west-1:{PRODUCTION}:cluster-snapshot:orders-1"


def run(command: str, *words: str, project: Path = PROJECT) -> Result:
    where = ["--project", str(project), "--stage", "acceptance"]
    return CliRunner().invoke(cli, [command, *where, *words])


def test_the_functions_runtime_is_printed_and_that_it_is_not_the_one_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python = "chalice.config.Config.lambda_python_version"
    monkeypatch.setattr(python, "python3.11")
    assert account.runtime() == "the functions get the runtime python3.11"
    monkeypatch.setattr(python, "python3.14")
    assert account.runtime() == (
        "the functions get the runtime python3.14, but are tested with python3.11: "
        "make clean, and then make PYTHON=python3.11 setup"
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("EMIAL=a@b.de", "deploy takes no answer EMIAL. It takes: EMAIL, "),
        ("EMAIL=team", "EMAIL is 'team': write an address such as team@example.com"),
        *(
            (f"{deploy.INITIAL}={value}", f"{deploy.INITIAL} is '{value}': write the ARN of a ")
            for value in (
                "orders",
                SNAPSHOT.replace(PRODUCTION, "999999999999"),
                SNAPSHOT.replace("eu-west-1", "eu-west-2"),
            )
        ),
    ],
)
def test_a_wrong_answer_is_named(answer: str, message: str) -> None:
    result = run("deploy", answer)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)


def test_current_may_begin_with_production_s_snapshot_or_the_account_s_own() -> None:
    stage, own = load(PROJECT, "acceptance"), SNAPSHOT.replace(PRODUCTION, ACCEPTANCE)
    for answer, arn in ((deploy.INITIAL, SNAPSHOT), (f"RDS_{deploy.INITIAL}", own)):
        assert deploy.first_values(stage, {answer: arn}) == {CURRENT: arn}


@pytest.mark.parametrize("command", ["deploy", "package"])
def test_a_stage_that_contradicts_itself_is_neither_deployed_nor_packaged(
    tmp_path: Path, command: str
) -> None:
    """It takes its own account's snapshots for production's."""
    shutil.copytree(PROJECT / ".chalice", tmp_path / ".chalice")
    config = json.loads((tmp_path / CONFIG).read_text())
    config["stages"]["acceptance"]["environment_variables"]["SOURCE_ACCOUNT"] = ACCEPTANCE
    (tmp_path / CONFIG).write_text(json.dumps(config))
    result = run(command, project=tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    first, second, *_ = result.stderr.splitlines()
    assert first == "stage 'acceptance' would not work:"
    assert "SOURCE_ACCOUNT" in second


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        ("b2", []),
        ("gone", ["  found      REST API a1, the first of 2 by creation time and id, "]),
    ],
)
def test_of_several_rest_apis_the_recorded_one_is_used_and_otherwise_the_choice_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str, found: list[str]
) -> None:
    (tmp_path / ".chalice").mkdir()
    restapi.record(tmp_path, "acceptance", recorded)
    monkeypatch.setattr(restapi, "invoking", lambda *_: ["a1", "b2"])
    said: list[str] = []
    deploy.find_api(tmp_path, Mock(stage=load(PROJECT, "acceptance")), said.append)
    used, other = ("a1", "b2") if found else ("b2", "a1")
    assert restapi.recorded(tmp_path, "acceptance") == used
    *first, last = said
    assert [line[: len(found[0])] for line in first] == found
    assert last.startswith(f"  note: REST API {other} also invokes")


def test_a_record_of_chalice_that_was_not_written_to_the_end_is_deleted(tmp_path: Path) -> None:
    record = tmp_path / restapi.record_of("acceptance")
    assert not restapi.delete_malformed_record(tmp_path, "acceptance")
    record.parent.mkdir(parents=True)
    for text, is_malformed in (("{}", False), ('{"resources": [', True)):
        record.write_text(text)
        assert restapi.delete_malformed_record(tmp_path, "acceptance") == is_malformed
        assert record.exists() != is_malformed


def test_whoever_has_unsubscribed_is_no_subscriber(monkeypatch: pytest.MonkeyPatch) -> None:
    """SNS lists the address for three days."""
    client = boto3.client("sns", region_name="eu-west-1", **CREDENTIALS)
    monkeypatch.setattr(Account, "client", lambda *_: client)
    found = {"arn:1": "a@b.de", "PendingConfirmation": "b@b.de", "Deleted": "c@b.de"}
    listed = [{"SubscriptionArn": arn, "Endpoint": each} for arn, each in found.items()]
    with Stubber(client) as stub:
        stub.add_response("list_subscriptions_by_topic", {"Subscriptions": listed})
        assert Account(load(PROJECT, "acceptance")).subscribers() == ["a@b.de", "b@b.de"]


def test_what_is_left_is_named_even_if_the_data_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / ".chalice", tmp_path / ".chalice")
    stack = Mock(delete=Mock(side_effect=StageError("it is stuck")))
    stack.name = "s"
    monkeypatch.setattr(destroy, "opened", lambda *_: (Mock(), stack, stack))
    monkeypatch.setattr(destroy, "_held_by", lambda _: set())
    monkeypatch.setattr(destroy, "_code", lambda _: iter(()))
    refused = Mock(side_effect=StageError("no right to list it"))
    monkeypatch.setattr(destroy, "_data", lambda *_: map(refused, "x"))
    with pytest.raises(StageError) as caught:
        destroy.destroy(tmp_path, "acceptance", print, destroy.Extent())
    assert str(caught.value).splitlines() == [
        "stage acceptance is not deleted; what is left:",
        "stack s: it is stuck",
        "stack s: it is stuck",
        "4. data: no right to list it",
    ]


def test_a_dry_run_of_destroy_lists_the_rules_functions_and_roles_that_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = Mock(exists=lambda: False, template=lambda: None)
    shares = "aurora-refresh-production-db-share-snapshot"
    existing = {f"{shares}-event", shares}
    account = Mock(
        stage=load(PROJECT, "production"),
        one=lambda *_, **named: existing & {*named.values()},
        functions=existing.intersection,
    )
    monkeypatch.setattr(destroy, "opened", lambda *_: (account, stack, stack))
    monkeypatch.setattr(destroy, "_data", lambda *_: ())
    said: list[str] = []
    destroy.plan(PROJECT, "production", said.append, destroy.Extent())
    kinds = (f"rule {shares}-event", f"function {shares}", f"role {shares}")
    assert said == [f"  delete     {each}" for each in kinds]


def test_an_interrupted_deployment_prints_what_is_completed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*arguments: Any) -> None:
        arguments[-1].append("stack aurora-refresh-acceptance-before")
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "deploy", interrupted)
    result = run("deploy")
    completed = "completed: stack aurora-refresh-acceptance-before; once that is fixed, run "
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Stopped; an operation already started on a stack continues.",
        f"{completed}aurora-refresh deploy --stage acceptance again",
    ]


def test_a_package_s_commands_run_in_a_folder_of_any_name() -> None:
    printed = next_steps("acceptance", Path("my folder"), ["Email"])
    (first, *_) = (line for line in printed.splitlines() if "before.json" in line)
    assert shlex.split(first)[-1] == "my folder/before.json"
