"""What `deploy`, `package` and `destroy` decide before they call AWS, and what they say of the end.

tests/e2e/test_deploy_stage.py runs them against an account.
"""

import re
import shlex
import shutil
from pathlib import Path
from unittest.mock import Mock

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner, Result

from chalicelib.domain.errors import Problem
from cli import account, deploy, destroy, restapi, stages
from cli.account import Account
from cli.main import cli
from cli.package import next_steps
from cli.stages import StageError, load

PROJECT = Path(__file__).resolve().parents[2]
PRODUCTION, ACCEPTANCE = "111111111111", "222222222222"
CURRENT = "/acceptance/rds/current-snapshot"
SNAPSHOT = f"arn:aws:rds:eu-west-1:{PRODUCTION}:cluster-snapshot:orders-1"
STAGE = load(PROJECT, "acceptance")


def run(command: str, *words: str) -> Result:
    where = ["--project", str(PROJECT), "--stage", "acceptance"]
    return CliRunner().invoke(cli, [command, *where, *words])


def test_a_runtime_that_is_not_the_one_tested_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalice.config.Config.lambda_python_version", "python3.14")
    assert account.runtime() == (
        "the functions get the runtime python3.14, but are tested with python3.11: "
        "make clean, and then make PYTHON=python3.11 setup"
    )


WRONG = {
    "EMIAL=a@b.de": "deploy takes no answer EMIAL. It takes: EMAIL, ",
    "EMAIL=team": "EMAIL is 'team': write an address such as team@example.com",
    **{
        f"{deploy.INITIAL}={value}": f"{deploy.INITIAL} is '{value}': write the ARN of a "
        for value in (
            "orders",
            SNAPSHOT.replace(PRODUCTION, "999999999999"),
            SNAPSHOT.replace("eu-west-1", "eu-west-2"),
        )
    },
}


@pytest.mark.parametrize("answer", WRONG)
def test_a_wrong_answer_is_named(answer: str) -> None:
    result = run("deploy", answer)
    assert result.exit_code == 2
    assert result.stderr.startswith(WRONG[answer])


def test_current_may_begin_with_production_s_snapshot_or_the_account_s_own() -> None:
    own = SNAPSHOT.replace(PRODUCTION, ACCEPTANCE)
    for answer, arn in ((deploy.INITIAL, SNAPSHOT), (f"RDS_{deploy.INITIAL}", own)):
        assert deploy.first_values(STAGE, {answer: arn}) == {CURRENT: arn}


@pytest.mark.parametrize("command", ["deploy", "deploy --dry-run", "package"])
def test_a_stage_that_contradicts_itself_is_neither_deployed_nor_packaged(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    problem = Problem(("SOURCE_ACCOUNT",), "is the stage's own")
    monkeypatch.setattr(stages, "contradictions", lambda stage: [problem])
    result = run(*command.split())
    assert (result.exit_code, result.stdout) == (1, "")
    refusal = "stage 'acceptance' would not work:\nSOURCE_ACCOUNT is the stage's own\n"
    assert result.stderr.startswith(refusal)


def test_of_several_rest_apis_the_recorded_one_is_used_and_otherwise_the_choice_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restapi, "invoking", lambda *_: ["a1", "b2"])
    (tmp_path / ".chalice").mkdir()

    def said(recorded: str) -> list[str]:
        restapi.record(tmp_path, "acceptance", recorded)
        lines: list[str] = []
        deploy.find_api(tmp_path, Mock(stage=STAGE), lines.append)
        return [re.split(", which| also", line)[0].strip() for line in lines]

    chosen = "found      REST API a1, the first of 2 by creation time and id"
    assert said("gone") == [chosen, "note: REST API b2"]
    assert restapi.recorded(tmp_path, "acceptance") == "a1"
    assert said("b2") == ["note: REST API a1"]


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
    found = {"arn:1": "a@b.de", "PendingConfirmation": "b@b.de", "Deleted": "c@b.de"}
    listed = [{"SubscriptionArn": arn, "Endpoint": each} for arn, each in found.items()]
    client = boto3.client("sns", "eu-west-1")
    monkeypatch.setattr(Account, "client", lambda *_: client)
    with Stubber(client) as stub:
        stub.add_response("list_subscriptions_by_topic", {"Subscriptions": listed})
        assert Account(STAGE).subscribers() == ["a@b.de", "b@b.de"]


def test_what_is_left_is_named_even_if_the_data_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / ".chalice", tmp_path / ".chalice")
    stack = Mock(delete=Mock(side_effect=StageError("it is stuck")), template=lambda: None)
    stack.name = "s"
    account = Mock(parameters=Mock(side_effect=StageError("no right to list it")))
    monkeypatch.setattr(destroy, "opened", lambda *_: (account, stack, stack))
    with pytest.raises(StageError) as caught:
        destroy.destroy(tmp_path, "acceptance", print, destroy.Extent())
    assert str(caught.value).splitlines() == [
        "stage acceptance is not deleted; what is left:",
        "stack s: it is stuck",
        "stack s: it is stuck",
        "4. data: no right to list it",
    ]


def test_an_interrupted_deployment_says_that_an_operation_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deploy, "deploy", Mock(side_effect=KeyboardInterrupt))
    result = run("deploy")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Stopped; an operation already started on a stack continues.",
        deploy.completed("acceptance", []),
    ]


def test_a_package_s_commands_run_in_a_folder_of_any_name() -> None:
    printed = next_steps("acceptance", Path("my folder"), ["Email"])
    (first, *_) = (line for line in printed.splitlines() if "before.json" in line)
    assert shlex.split(first)[-1] == "my folder/before.json"
