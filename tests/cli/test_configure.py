"""``aurora-refresh configure``: one set of answers becomes a stage and its policies."""

import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from chalicelib.domain.functions import UPDATE
from cli.configure import changes, write
from cli.deploy import deployable
from cli.main import cli
from cli.mainpipeline import readings
from cli.output import Failure, WrongUsage
from cli.stages import load, own_answers, to_text
from tests.stage import STAGE

PROJECT = Path(__file__).resolve().parents[2]
PIPELINE = "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
ANSWERS = STAGE | {"MAIN_PIPELINE_ARN": PIPELINE}
CONFIG = ".chalice/config.json"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project as it is checked in."""
    ignored = shutil.ignore_patterns("deployed", "deployments")
    shutil.copytree(PROJECT / ".chalice", tmp_path / ".chalice", ignore=ignored)
    return tmp_path


def snapshot(project: Path) -> dict[str, bytes]:
    """Every file of the project with its content."""
    found = [file for file in project.rglob("*") if file.is_file()]
    return {file.relative_to(project).as_posix(): file.read_bytes() for file in found}


def configured(project: Path, stage: str = "new", **answers: str) -> dict[str, bytes]:
    """The project's files after the answers."""
    write(changes(project, stage, answers))
    return snapshot(project)


def body(project: Path, stage: str = "new") -> Any:
    return json.loads((project / CONFIG).read_text())["stages"][stage]


def run(project: Path, words: str, *options: str) -> tuple[int, str, str]:
    """Run the command offline for a stage with its answers; if it fails, it has written nothing."""
    given = ["configure", "--offline", "--project", str(project), *options, "--stage"]
    before = snapshot(project)
    result = CliRunner().invoke(cli, [*given, *words.split()])
    assert result.exit_code == 0 or snapshot(project) == before
    return result.exit_code, result.stdout, result.stderr


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["acceptance", "production"])
def test_the_checked_in_stages_are_what_configure_writes(project: Path, stage: str) -> None:
    checked_in = snapshot(project)
    assert configured(project, stage) == checked_in
    config = json.loads(checked_in[CONFIG])
    answers = {**load(project, stage).variables, **own_answers(config["stages"].pop(stage))}
    (project / CONFIG).write_text(json.dumps(config))
    for file in (project / ".chalice").glob(f"policy-{stage}-*"):
        file.unlink()
    made = configured(project, stage, **answers)
    assert json.loads(made.pop(CONFIG)) == json.loads(checked_in.pop(CONFIG))
    assert made == checked_in


def test_the_same_answers_give_the_same_bytes_by_whatever_way(project: Path) -> None:
    final = ANSWERS | {"RDS_ENGINE_VERSION": "16", "REFRESH_EVERY_WEEKS": "4"}
    at_once = configured(project, **final)
    (project / CONFIG).write_bytes((PROJECT / CONFIG).read_bytes())
    detour = {"MAX_SNAPSHOT_AGE_DAYS": "3", "PIN_API_ENABLED": "false"}
    without = configured(project, **dict(reversed(final.items())), **detour)
    assert at_once.keys() - without.keys() == {".chalice/policy-new-api-handler.json"}
    assert "api_handler" not in body(project)["lambda_functions"]
    assert configured(project, **dict.fromkeys(detour, "")) == at_once


def test_what_was_tuned_by_hand_stays(project: Path) -> None:
    config = json.loads((project / CONFIG).read_text())
    stage = config["stages"]["acceptance"]
    stage["lambda_functions"]["db-update-latest-snapshot-id"]["lambda_timeout"] = 900
    stage["lambda_functions"]["other"] = {"lambda_timeout": 1}
    stage["lambda_functions"]["api_handler"] |= {"manage_iam_role": False, "iam_role_arn": "arn:…"}
    stage["environment_variables"]["POWERTOOLS_LOG_LEVEL"] = "DEBUG"
    stage["tags"] = {"owner": "Zoë"}
    (project / CONFIG).write_text(to_text(config))
    file = project / ".chalice/policy-acceptance-db-reconcile.json"
    policy = json.loads(file.read_text())
    policy["Statement"].append({"Sid": "OwnBoundary", "Effect": "Deny", "Action": "s3:*"})
    file.write_text(to_text(policy))
    before = snapshot(project)
    assert configured(project, "acceptance") == before
    configured(project, "acceptance", POWERTOOLS_LOG_LEVEL="", PIN_API_ENABLED="false")
    assert "POWERTOOLS_LOG_LEVEL" not in body(project, "acceptance")["environment_variables"]
    assert "api_handler" in load(project, "acceptance").own_roles  # or deploy would delete it


@pytest.mark.parametrize("text", ["{", "[]", '{"Statement": 1}', '{"Statement": [1]}'])
def test_a_policy_file_that_cannot_be_read_is_kept(project: Path, text: str) -> None:
    """Nobody's own statements are lost by a comma too many."""
    file = ".chalice/policy-acceptance-db-reconcile.json"
    (project / file).write_text(text)
    status, printed, errors = run(project, "acceptance")
    assert (status, printed) == (1, "")
    assert errors.startswith(f"{file} cannot be read, and may have statements of your own")
    (project / file).write_text("")  # an empty one is written anew
    assert json.loads(configured(project, "acceptance")[file])["Statement"]


def test_policies_that_do_not_fit_the_settings_are_not_deployed(project: Path) -> None:
    """A setting was edited by hand, and a file is missing."""
    for file in (CONFIG, ".chalice/policy-acceptance-api-handler.json"):
        text = json.dumps(json.loads((project / file).read_text()))
        (project / file).write_text(text)  # its form does not matter
    text = (project / CONFIG).read_text()
    deployable(project, "acceptance")
    (project / CONFIG).write_text(text.replace("/acceptance/rds/latest", "/other/latest"))
    (project / ".chalice/policy-acceptance-db-reconcile.json").unlink()
    functions = "api-handler", "db-follow-pipeline", "db-reconcile", "db-restore-from-snapshot"
    files = [f"policy-acceptance-{each}.json" for each in (*functions, UPDATE)]
    right = "run aurora-refresh configure --stage acceptance"
    with pytest.raises(Failure, match=f" do not fit the settings: {', '.join(files)}; {right}$"):
        deployable(project, "acceptance")


# --- mistakes -------------------------------------------------------------------------------------

WRONG = {
    "a_b": "STAGE is 'a_b': write a name such as acceptance",
    "team-before": "STAGE is 'team-before': its stack would have the same name as",
    "acceptance RDS_ENGINE": "'RDS_ENGINE': write NAME=VALUE, such as RDS_ENGINE_VERSION=15\n",
    # Every problem is named.
    "acceptance SOURCE_ACCOUNT= RDS_ENGINE=oracle ENGINE=docdb": (
        "nothing was written for stage 'acceptance':\n"
        "  - SOURCE_ACCOUNT is missing: write production's account id, 12 digits\n"
        "  - RDS_ENGINE is 'oracle': write one of aurora-postgresql, aurora-mysql, docdb, neptune\n"
        "  - ENGINE is not a setting. Did you mean RDS_ENGINE? "
    ),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_answer_is_refused_with_what_would_be_right(project: Path, words: str) -> None:
    status, printed, errors = run(project, words)
    assert (status, printed) == (2, "")
    assert errors.startswith(WRONG[words])


def test_a_stage_becomes_one_of_the_other_kind_if_the_first_one_is_emptied(project: Path) -> None:
    config = json.loads((project / CONFIG).read_text())
    common = {"SOURCE_ACCOUNT": "111111111111", "MAX_SNAPSHOT_AGE_DAYS": "7"}
    (project / CONFIG).write_text(json.dumps(config | {"environment_variables": common}))
    sharing = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": "orders"}
    place = {"ACCOUNT": "111111111111", "REGION": "eu-west-1"}
    configured(project, "acceptance", SOURCE_ACCOUNT="", **sharing, **place)
    variables = body(project, "acceptance")["environment_variables"]
    kept = {"NOTIFICATION_TOPIC_ARN": variables["NOTIFICATION_TOPIC_ARN"]}
    # An empty value, where all stages have another one.
    assert variables == sharing | kept | {"SOURCE_ACCOUNT": ""}
    configured(project, "acceptance", SHARE_WITH_ACCOUNT="", **ANSWERS)
    assert body(project, "acceptance")["environment_variables"] == STAGE | kept


def test_a_linked_file_stays_a_link_and_a_write_that_fails_half_way_can_be_repeated(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is half written."""
    linked = project / CONFIG
    linked.symlink_to(linked.rename(project / "shared.json"))
    linked.chmod(0o640)
    configured(project, **ANSWERS)
    assert linked.stat().st_mode & 0o777 == 0o640
    assert "new" in json.loads(linked.readlink().read_text())["stages"]
    policy = project / ".chalice/policy-new-api-handler.json"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", Mock(side_effect=OSError("no")))
        with pytest.raises(Failure, match="not everything was written: no"):
            configured(project, PIN_API_ENABLED="false")
    assert policy.exists()
    configured(project, PIN_API_ENABLED="false")
    assert not policy.exists()
    before = snapshot(project)
    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError("full")))
    with pytest.raises(Failure, match="full"):
        configured(project, PIN_API_ENABLED="true")
    assert before.items() <= snapshot(project).items()


# --- the command ----------------------------------------------------------------------------------


def test_what_is_missing_is_asked_until_it_is_right(project: Path) -> None:
    """And what contradicts another answer is asked again."""
    latest, current = "SSM_RDS_LATEST_SNAPSHOT_NAME", "SSM_RDS_CURRENT_SNAPSHOT_NAME"
    spoken = [
        *(("MAIN_PIPELINE_ARN", "main"), ("MAIN_PIPELINE_ARN", PIPELINE)),
        *(("SOURCE_ACCOUNT", ""), ("SOURCE_ACCOUNT", "222222222222")),
        *((latest, "/same"), (current, "/same")),
        *((latest, STAGE[latest]), (current, STAGE[current])),
        ("SOURCE_ACCOUNT", " 111111111111 "),
    ]
    ask = Mock(side_effect=[answer for _, answer in spoken])
    given = {name: value for name, value in ANSWERS.items() if name not in dict(spoken)}
    write(changes(project, "new", given, ask))
    questions = [call.args[0].rpartition("\n")[2] for call in ask.call_args_list]
    assert questions == [f"{name} = " for name, _ in spoken]
    assert load(project, "new").variables == STAGE
    assert own_answers(body(project)) == {"MAIN_PIPELINE_ARN": PIPELINE}


def test_the_command_shows_what_it_changes_and_writes_it(project: Path) -> None:
    before = snapshot(project)
    given = "acceptance RDS_ENGINE_VERSION=16"
    dry = run(project, given, "--dry-run")[1].splitlines()
    assert dry.pop() == "this is a dry run; nothing was written"
    assert snapshot(project) == before
    status, printed, errors = run(project, given)
    *diff, last = printed.splitlines()
    assert (status, errors) == (0, "")
    assert diff == dry
    assert diff[:2] == ["--- a/.chalice/config.json", "+++ b/.chalice/config.json"]
    changed = [line for line in diff if line[:2] in ("- ", "+ ")]
    before, after = (f'        "RDS_ENGINE_VERSION": "{version}",' for version in (15, 16))
    assert changed == [f"-{before}", f"+{after}"]
    assert last == "stage acceptance is written; next: aurora-refresh deploy --stage acceptance"
    again = "stage acceptance is already configured this way; nothing was written\n"
    assert run(project, given) == (0, again, "")


def test_the_environment_answers_only_if_asked_to_and_the_command_line_wins(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RDS_ENGINE_VERSION", "16")
    monkeypatch.setenv("RDS_SOURCE_CLUSTER", "billing")
    given = "acceptance RDS_SOURCE_CLUSTER=invoices"
    run(project, given)
    assert load(project, "acceptance").variables["RDS_ENGINE_VERSION"] == "15"
    run(project, given, "--from-environment")
    variables = load(project, "acceptance").variables
    assert (variables["RDS_ENGINE_VERSION"], variables["RDS_SOURCE_CLUSTER"]) == ("16", "invoices")


def test_leaving_a_prompt_changes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.deployer.is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", Mock(side_effect=KeyboardInterrupt))
    stopped = (1, "", "Stopped.\n")
    assert run(project, "acceptance SOURCE_ACCOUNT=") == stopped


def test_a_stack_that_is_found_is_written(project: Path) -> None:
    find = Mock(return_value={"RDS_STACK_NAME": "acceptance-data"})
    answers = ANSWERS | {"MAX_SNAPSHOT_AGE_DAYS": "3"}
    write(changes(project, "new", answers, find=find))
    assert find.call_args.args[0].name == "new"
    last = [*load(project, "new").variables.items()][-2:]  # in the order of the documentation
    assert last == [("RDS_STACK_NAME", "acceptance-data"), ("MAX_SNAPSHOT_AGE_DAYS", "3")]
    find.return_value = {"RDS_STACK_NAME": "no stack"}
    problem = "nothing was written for stage 'new':\n  - RDS_STACK_NAME"
    with pytest.raises(WrongUsage, match=problem):
        changes(project, "new", answers, find=find)


def test_a_cluster_among_several_is_named_by_its_logical_id() -> None:
    properties = {"SnapshotIdentifier": {"Ref": "Current"}}
    cluster = {"Type": "AWS::RDS::DBCluster", "Properties": properties}
    read = {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/current"}
    clusters = {"Orders": cluster, "Billing": cluster}
    template = {"Parameters": {"Current": read}, "Resources": clusters}
    found = [(each.parameter, each.place) for each in readings("data", template)]
    assert found == [("/current", "data/Orders"), ("/current", "data/Billing")]
