"""``aurora-refresh configure``: one set of answers becomes a stage and its policies."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.configure import changes, files, write
from cli.main import cli
from cli.mainpipeline import StackTemplate, places
from cli.policies import with_own_statements
from cli.stages import AcceptanceStage, StageError, load, own_answers, to_text
from tests.stage import STAGE, TWO

PROJECT = Path(__file__).resolve().parents[2]
PIPELINE = "arn:aws:codepipeline:eu-west-1:222222222222:acceptance-main"
ANSWERS = STAGE | {"MAIN_PIPELINE_ARN": PIPELINE}
CONFIG = ".chalice/config.json"
SHARING = {"SHARE_WITH_ACCOUNT": "222222222222", "CLUSTERS": "orders"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project as it is checked in."""
    shutil.copytree(
        PROJECT / ".chalice",
        tmp_path / ".chalice",
        ignore=shutil.ignore_patterns("deployed", "deployments"),
    )
    return tmp_path


def snapshot(project: Path) -> dict[str, bytes]:
    """Every file of the project with its content."""
    return {
        file.relative_to(project).as_posix(): file.read_bytes()
        for file in project.rglob("*")
        if file.is_file()
    }


def configured(project: Path, stage: str = "new", **answers: str) -> dict[str, bytes]:
    """The project's files after the answers."""
    write(changes(project, files(project, stage, answers)))
    return snapshot(project)


def body(project: Path, stage: str = "new") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / CONFIG).read_text())["stages"][stage]
    return found


def own(project: Path, stage: str) -> dict[str, str]:
    """The stage's answers that are no settings."""
    return own_answers(body(project, stage))


def refusal(project: Path, stage: str = "new", **answers: str) -> list[str]:
    """What is said to the answers, line by line; nothing has been written by then."""
    before = snapshot(project)
    with pytest.raises(StageError) as caught:
        configured(project, stage, **answers)
    assert snapshot(project) == before
    return str(caught.value).splitlines()


# --- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["acceptance", "production"])
def test_the_checked_in_stages_are_what_configure_writes(project: Path, stage: str) -> None:
    checked_in = snapshot(project)
    answers = {**load(project, stage).variables, **own(project, stage)}
    config = json.loads(checked_in[CONFIG])
    others = {name: each for name, each in config["stages"].items() if name != stage}
    (project / CONFIG).write_text(json.dumps({**config, "stages": others}))
    for file in (project / ".chalice").glob(f"policy-{stage}-*"):
        file.unlink()

    made = configured(project, stage, **answers)

    # The stage comes last now.
    assert json.loads(made[CONFIG]) == config
    assert json.dumps(body(project, stage)) == json.dumps(config["stages"][stage])
    assert made | {CONFIG: b""} == checked_in | {CONFIG: b""}
    assert changes(project, files(project, stage, {})) == {}


def test_a_new_stage_leaves_the_others_as_they_are(project: Path) -> None:
    before = snapshot(project)
    made = configured(project, **ANSWERS)
    assert {name for name in made if made[name] != before.get(name)} == {
        CONFIG,
        ".chalice/policy-new-db-update-latest-snapshot-id.json",
        ".chalice/policy-new-db-restore-from-snapshot.json",
        ".chalice/policy-new-db-follow-pipeline.json",
        ".chalice/policy-new-db-reconcile.json",
        ".chalice/policy-new-api-handler.json",
    }
    text = made[CONFIG].decode()
    # Byte for byte: all that was there, and the new stage behind it.
    assert text.startswith(before[CONFIG].decode().rstrip("}\n "))
    assert load(project, "new").variables == STAGE


def test_the_same_answers_give_the_same_bytes_by_whatever_way(project: Path) -> None:
    final = ANSWERS | {"RDS_ENGINE_VERSION": "16", "REFRESH_EVERY_WEEKS": "4"}
    at_once = configured(project, **final)
    assert configured(project, **final) == at_once
    (project / CONFIG).write_bytes((PROJECT / CONFIG).read_bytes())
    detour = dict(reversed(final.items())) | {
        "MAX_SNAPSHOT_AGE_DAYS": "3",
        "PIN_API_ENABLED": "false",
    }
    configured(project, **detour)
    assert (
        configured(project, **final | {"MAX_SNAPSHOT_AGE_DAYS": "", "PIN_API_ENABLED": ""})
        == at_once
    )


def test_an_empty_answer_removes_a_setting_and_what_its_policies_grant(project: Path) -> None:
    made = configured(project, "acceptance", SSM_REFRESH_HOLD_NAME="", NOTIFICATION_TOPIC_ARN="")
    variables = load(project, "acceptance").variables
    assert not {"SSM_REFRESH_HOLD_NAME", "NOTIFICATION_TOPIC_ARN"} & variables.keys()
    policies = b"".join(text for name, text in made.items() if "policy-acceptance-" in name)
    assert (b"hold" in policies.lower(), b"sns" in policies) == (False, False)


def test_without_the_pin_api_its_policy_goes_and_comes_back(project: Path) -> None:
    before = snapshot(project)
    after = configured(project, "acceptance", PIN_API_ENABLED="false")
    assert before.keys() - after.keys() == {".chalice/policy-acceptance-api-handler.json"}
    assert "api_handler" not in body(project, "acceptance")["lambda_functions"]
    assert configured(project, "acceptance", PIN_API_ENABLED="") == before


def test_another_database_takes_the_settings_of_the_one_before_away(project: Path) -> None:
    configured(project, **ANSWERS)
    docs = {name: value for name, value in TWO.items() if "DOCS" in name and name != "DATABASES"}
    configured(project, **docs, DATABASES="DOCS")
    general = {name: STAGE[name] for name in ("SOURCE_ACCOUNT", "SSM_MAIN_CICD_NAME")}
    assert load(project, "new").variables == general | docs | {"DATABASES": "DOCS"}


def test_what_was_tuned_by_hand_stays(project: Path) -> None:
    config = json.loads((project / CONFIG).read_text())
    stage = config["stages"]["acceptance"]
    stage["lambda_functions"]["db-update-latest-snapshot-id"]["lambda_timeout"] = 900
    stage["lambda_functions"]["other"] = {"lambda_timeout": 1}
    stage["environment_variables"]["POWERTOOLS_LOG_LEVEL"] = "DEBUG"
    stage["tags"] = {"owner": "Zoë"}
    (project / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    before = snapshot(project)
    assert configured(project, "acceptance") == before


def test_what_all_stages_have_in_common_is_taken_away_by_an_empty_value(project: Path) -> None:
    config = json.loads((project / CONFIG).read_text())
    config["environment_variables"] = {"MAX_SNAPSHOT_AGE_DAYS": "7"}
    (project / CONFIG).write_text(json.dumps(config))
    configured(project, **ANSWERS)
    assert "MAX_SNAPSHOT_AGE_DAYS" not in body(project)["environment_variables"]
    configured(project, MAX_SNAPSHOT_AGE_DAYS="")
    assert body(project)["environment_variables"]["MAX_SNAPSHOT_AGE_DAYS"] == ""
    assert load(project, "new").variables["MAX_SNAPSHOT_AGE_DAYS"] == ""


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"Statement": 1}', '{"Statement": [1]}'])
def test_a_policy_file_that_cannot_be_read_is_written_anew(text: str | None) -> None:
    assert with_own_statements({"Statement": []}, text) == {"Statement": []}


def test_statements_that_somebody_added_to_a_policy_are_kept(project: Path) -> None:
    file = project / ".chalice/policy-acceptance-db-reconcile.json"
    policy = json.loads(file.read_text())
    policy["Statement"].append({"Sid": "OwnBoundary", "Effect": "Deny", "Action": "s3:*"})
    file.write_text(to_text(policy))
    assert configured(project, "acceptance")[file.relative_to(project).as_posix()] == (
        to_text(policy).encode()
    )


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"SOURCE_ACCOUNT": "222222222222"}, "  - SOURCE_ACCOUNT is '222222222222': this is the"),
        (
            {"RDS_ENIGNE": "docdb"},
            "RDS_ENIGNE is not a setting. Did you mean RDS_ENGINE? Settings: ",
        ),
        ({"DATABASES": "rds"}, "DATABASES is 'rds': write prefixes of upper-case letters"),
    ],
)
def test_a_wrong_answer_is_refused_with_what_would_be_right(
    project: Path, answers: dict[str, str], message: str
) -> None:
    assert refusal(project, **ANSWERS | answers)[-1].startswith(message)


KIND = {"SOURCE_ACCOUNT": "acceptance", "SHARE_WITH_ACCOUNT": "production"}
REAL = "444444444444"


@pytest.mark.parametrize(
    ("stage", "answers"),
    [
        ("acceptance", {"SHARE_WITH_ACCOUNT": REAL, "CLUSTERS": "orders"}),
        ("production", {"SOURCE_ACCOUNT": REAL, "MAIN_PIPELINE_ARN": PIPELINE}),
        ("new", dict.fromkeys(KIND, REAL)),
    ],
)
def test_a_stage_of_one_kind_does_not_silently_become_one_of_the_other(
    project: Path, stage: str, answers: dict[str, str]
) -> None:
    assert refusal(project, stage, **answers) == [
        (
            "SOURCE_ACCOUNT, SHARE_WITH_ACCOUNT are both set: set SOURCE_ACCOUNT in an acceptance stage, "
            "SHARE_WITH_ACCOUNT in a production stage"
        )
    ]


@pytest.mark.parametrize("common", [False, True])
def test_a_stage_becomes_one_of_the_other_kind_if_the_first_one_is_emptied(
    project: Path, *, common: bool
) -> None:
    config = json.loads((project / CONFIG).read_text())
    if common:
        config["environment_variables"] = {"SOURCE_ACCOUNT": "111111111111"}
        (project / CONFIG).write_text(json.dumps(config))
    own = {"ACCOUNT": "111111111111", "REGION": "eu-west-1"}
    configured(project, "acceptance", SOURCE_ACCOUNT="", **SHARING, **own)
    variables = load(project, "acceptance").variables
    kept = {"NOTIFICATION_TOPIC_ARN": variables["NOTIFICATION_TOPIC_ARN"]}
    assert {name: value for name, value in variables.items() if value} == SHARING | kept
    configured(project, "acceptance", SHARE_WITH_ACCOUNT="", **ANSWERS)
    assert load(project, "acceptance").variables == STAGE | kept


@pytest.mark.parametrize(
    ("stage", "answers", "wrong"),
    [
        (
            "production",
            {"SHARE_WITH_ACCOUNT": REAL},
            (
                "ACCOUNT is '111111111111': 111111111111 is an account of the documentation's examples; "
                "write your own: ACCOUNT=… REGION=…"
            ),
        ),
        (
            "acceptance",
            {"SOURCE_ACCOUNT": REAL},
            (
                f"MAIN_PIPELINE_ARN is '{PIPELINE}': 222222222222 is an account of the documentation's "
                "examples; write your own"
            ),
        ),
    ],
)
def test_the_account_of_the_example_is_not_kept_beside_a_real_one(
    project: Path, stage: str, answers: dict[str, str], wrong: str
) -> None:
    lines = refusal(project, stage, **answers)
    assert [line for line in lines if line.startswith(f"  - {wrong.split(maxsplit=1)[0]} ")] == [
        f"  - {wrong}"
    ]


@pytest.mark.parametrize("failing", ["unlink", "write_bytes"])
def test_a_write_that_fails_half_way_is_undone(
    project: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    before = snapshot(project)
    answers = {"PIN_API_ENABLED": "false", "RDS_ENGINE_VERSION": "17"}
    changed = changes(project, files(project, "acceptance", answers))
    assert len(changed) == 2
    real = getattr(Path, failing)

    def denied(file: Path, *arguments: Any, **options: Any) -> Any:
        if file.name in ("policy-acceptance-api-handler.json", "config.json"):
            raise OSError("no")
        return real(file, *arguments, **options)

    monkeypatch.setattr(Path, failing, denied)
    with pytest.raises(StageError, match="nothing was written: no"):
        write(changed)
    assert snapshot(project) == before


# --- the command ----------------------------------------------------------------------------------


NAMES = ["SSM_RDS_LATEST_SNAPSHOT_NAME", "SSM_RDS_CURRENT_SNAPSHOT_NAME"]


@pytest.mark.parametrize(
    ("spoken", "asked"),
    [
        (
            ["main", PIPELINE, "", "12", " 111111111111 "],
            ["MAIN_PIPELINE_ARN"] * 2 + ["SOURCE_ACCOUNT"] * 3,
        ),
        # Answers that contradict each other are asked for again.
        (
            ["222222222222", "/same", "/same", *(STAGE[name] for name in NAMES), "111111111111"],
            ["SOURCE_ACCOUNT", *NAMES, *NAMES, "SOURCE_ACCOUNT"],
        ),
    ],
)
def test_what_is_missing_is_asked_until_it_is_right(
    project: Path, spoken: list[str], asked: list[str]
) -> None:
    questions: list[str] = []

    def ask(question: str) -> str:
        questions.append(question)
        return spoken[len(questions) - 1]

    given = {name: value for name, value in ANSWERS.items() if name not in asked}
    write(changes(project, files(project, "new", given, ask)))
    assert [question.rsplit("\n", 1)[1] for question in questions] == [
        f"{each} = " for each in asked
    ]
    assert load(project, "new").variables == STAGE
    assert own(project, "new") == {"MAIN_PIPELINE_ARN": PIPELINE}


def test_what_a_production_stage_lacks_is_asked_for(project: Path) -> None:
    answers = {"ACCOUNT": "111111111111", "REGION": "eu-west-1"}
    spoken = iter(answers.values())
    write(changes(project, files(project, "new", SHARING, lambda _: next(spoken))))
    assert own(project, "new") == answers


def options(project: Path, **answers: str) -> list[str]:
    asked = [f"{name}={value}" for name, value in answers.items()]
    return ["configure", "--project", str(project), "--stage", "acceptance", "--offline", *asked]


def test_the_command_shows_what_it_changes_and_writes_it(project: Path) -> None:
    run = CliRunner().invoke
    before = snapshot(project)
    given = options(project, RDS_ENGINE_VERSION="16")
    dry = run(cli, [*given, "--dry-run"])
    assert dry.output.splitlines()[-1] == "this is a dry run; nothing was written"
    assert snapshot(project) == before
    printed = run(cli, given)
    assert (printed.exit_code, printed.stderr) == (0, "")
    *diff, last = printed.stdout.splitlines()
    assert diff == dry.output.splitlines()[:-1]
    assert diff[:2] == ["--- a/.chalice/config.json", "+++ b/.chalice/config.json"]
    assert [line for line in diff if line[:2] in ("- ", "+ ")] == [
        '-        "RDS_ENGINE_VERSION": "15",',
        '+        "RDS_ENGINE_VERSION": "16",',
    ]
    assert last == "stage acceptance is written; next: aurora-refresh deploy --stage acceptance"
    assert load(project, "acceptance").variables["RDS_ENGINE_VERSION"] == "16"
    again = run(cli, given)
    assert again.output == "stage acceptance is already configured this way; nothing was written\n"


def test_the_environment_answers_only_if_asked_to_and_the_command_line_wins(project: Path) -> None:
    environment = {"RDS_ENGINE_VERSION": "16", "RDS_SOURCE_CLUSTER": "billing", "PATH": "/bin"}
    given = options(project, RDS_SOURCE_CLUSTER="invoices")
    run = CliRunner(env=environment).invoke
    assert run(cli, given).exit_code == 0
    assert load(project, "acceptance").variables["RDS_ENGINE_VERSION"] == "15"
    assert run(cli, [*given, "--from-environment"]).exit_code == 0
    variables = load(project, "acceptance").variables
    assert (variables["RDS_ENGINE_VERSION"], variables["RDS_SOURCE_CLUSTER"]) == ("16", "invoices")


def test_every_mistake_is_printed_at_once(project: Path) -> None:
    printed = CliRunner().invoke(cli, options(project, SOURCE_ACCOUNT="", RDS_ENGINE="oracle"))
    assert (printed.exit_code, printed.stdout) == (2, "")
    assert printed.stderr == (
        "stage 'acceptance' would not work, so nothing was written:\n"
        "  - SOURCE_ACCOUNT is missing: write production's account id, 12 digits\n"
        "  - RDS_ENGINE is 'oracle': write one of aurora-postgresql, aurora-mysql, docdb, neptune\n"
    )
    wrong = CliRunner().invoke(cli, [*options(project), "RDS_ENGINE"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr == "'RDS_ENGINE': write NAME=VALUE, such as RDS_ENGINE_VERSION=15\n"


@pytest.mark.parametrize("leaving", [EOFError, KeyboardInterrupt])
def test_whoever_leaves_while_asked_finds_everything_as_it_was(
    project: Path, monkeypatch: pytest.MonkeyPatch, leaving: type[BaseException]
) -> None:
    def leave(question: str) -> str:
        raise leaving

    monkeypatch.setattr("cli.deployer.is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", leave)
    before = snapshot(project)
    printed = CliRunner().invoke(cli, options(project, SOURCE_ACCOUNT=""))
    assert (printed.exit_code, printed.stderr) == (1, "Stopped; nothing was written.\n")
    assert snapshot(project) == before


def test_stacks_are_looked_for_unless_named_or_emptied(project: Path) -> None:
    asked: list[list[str]] = []

    def look(stage: AcceptanceStage, names: Sequence[str]) -> dict[str, str]:
        asked.append([*names])
        return dict.fromkeys(names, "acceptance-data")

    for stack in ("", "own"):
        files(project, "new", ANSWERS | {"RDS_STACK_NAME": stack}, look=look)
    assert asked == []
    answers = ANSWERS | {"MAX_SNAPSHOT_AGE_DAYS": "3"}
    write(changes(project, files(project, "new", answers, look=look)))
    assert asked == [["RDS_STACK_NAME"]]
    # In the order of the documentation.
    assert [*load(project, "new").variables][-3:] == [
        "RDS_ENGINE_VERSION",
        "RDS_STACK_NAME",
        "MAX_SNAPSHOT_AGE_DAYS",
    ]


def test_the_keys_of_the_topics_are_kept_until_they_can_be_looked_at(project: Path) -> None:
    key = "arn:aws:kms:eu-west-1:222222222222:key/1"

    def kept(found: list[str] | None) -> tuple[str, ...]:
        write(changes(project, files(project, "new", ANSWERS, find_keys=lambda _: found)))
        return load(project, "new").topic_keys

    assert [kept(found) for found in ([key], None, [], None)] == [(key,), (key,), (), ()]


def test_a_cluster_among_several_is_named_by_its_logical_id() -> None:
    def cluster(parameter: str, **more: Any) -> dict[str, Any]:
        properties = {"SnapshotIdentifier": {"Ref": parameter}}
        return {"Type": "AWS::RDS::DBCluster", "Properties": properties, **more}

    read = {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/default"}

    def found(**clusters: Any) -> list[tuple[str, str]]:
        conditions = {"Never": {"Fn::Equals": ["a", "b"]}}
        template = {"Parameters": {"One": read, "Two": read}, "Resources": clusters}
        stack = StackTemplate.of(template | {"Conditions": conditions}, {"Two": "/two"})
        return [*places("data", stack)]

    assert found(Orders=cluster("One")) == [("/default", "data")]
    assert found(Orders=cluster("One"), Billing=cluster("Two")) == [
        ("/default", "data/Orders"),
        ("/two", "data/Billing"),
    ]
    not_deployed = cluster("Two", Condition="Never")
    assert found(Orders=cluster("One"), Billing=not_deployed) == [("/default", "data")]
