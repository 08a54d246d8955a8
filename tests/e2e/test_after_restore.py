"""infrastructure/after-restore.yaml, executed by moto's interpreter on a real database."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock
from uuid import uuid4

import pytest
import yaml
from cfnlint.decode.cfn_yaml import loads

from demo.rows import PROJECT, SHOP, deploy_preparation, documented_files, upload
from localcloud import postgres
from localcloud.client import LocalCloud

RESOURCES = loads((PROJECT / "infrastructure/after-restore.yaml").read_text())["Resources"]
CLUSTER = "acceptance-data-cluster-1a2b"
ROWS = """
INSERT INTO customers VALUES (2, 'Bo', 'bo@example.nl');
INSERT INTO outgoing_mail VALUES ('Dear Anna');
CREATE ROLE report LOGIN PASSWORD 'of production';
"""
POSTGRESQL, MYSQL = "aurora-postgresql", "aurora-mysql"
STRICT = "sql_mode = concat(@@sql_mode, ',STRICT_ALL_TABLES')"
NAMES = "SELECT name FROM customers ORDER BY id"


class Preparation:
    """The template deployed in acceptance, and a cluster to prepare."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        cloud.client("rds").create_db_cluster(
            DBClusterIdentifier=CLUSTER,
            DatabaseName="shop",
            Engine=POSTGRESQL,
            MasterUsername="owner",
            ManageMasterUserPassword=True,
            EnableHttpEndpoint=True,
        )
        cloud.sql(CLUSTER, SHOP + ROWS)
        self.machine = deploy_preparation(cloud)

    def run(self) -> Any:
        """Start it with a forged place of the cluster, which RDS knows better, and describe how it ended."""
        forged = ("cluster_arn", "endpoint", "port", "engine", "secret_arn")
        given = {"database": "rds", "cluster": CLUSTER, **dict.fromkeys(forged, "forged")}
        arn = self.cloud.client("stepfunctions").start_execution(
            stateMachineArn=self.machine, name=str(uuid4()), input=json.dumps(given)
        )["executionArn"]
        return self.cloud.wait_for_execution(arn)

    def redrive(self, arn: str) -> Any:
        self.cloud.client("stepfunctions").redrive_execution(executionArn=arn)
        return self.cloud.wait_for_execution(arn)

    def column(self, sql: str) -> list[Any]:
        return [next(iter(row.values())) for row in self.cloud.sql(CLUSTER, sql)]


@pytest.fixture
def preparation(cloud: LocalCloud) -> Preparation:
    return Preparation(cloud)


BROKEN = """
UPDATE customers SET name = 'half; done'; -- not ; here
DO $$ BEGIN PERFORM 1; END $$;
UPDATE orders SET customer = item::int;
"""
LATE = "CREATE TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (7), (7)"
THROTTLED = {"operation": "lambda:Invoke", "kind": "throttle"}


def test_a_file_that_fails_is_named_and_a_redrive_masks_every_row(preparation: Preparation) -> None:
    """It is named without its data. What AWS refuses once is tried again. The demo, which test_readme.py runs, has whom the groups admit."""
    preparation.cloud.set_faults([THROTTLED])
    none = preparation.run()
    assert none["status"] == "FAILED"
    assert "there are no *.sql in s3://acceptance-scripts/after-restore/rds/" in none["cause"]
    for name, text in (("10-mask.SQL", b"SELECT 1"), ("10-mask.sql", b"")):
        other = {"Bucket": "acceptance-scripts", "Key": f"after-restore/rds/{name}"}
        preparation.cloud.client("s3").put_object(**other, Body=text)
        assert other["Key"] in preparation.redrive(none["executionArn"])["cause"]
        preparation.cloud.client("s3").delete_object(**other)
    upload(preparation.cloud, documented_files() | {"20-users": BROKEN})

    failed = preparation.redrive(none["executionArn"])

    assert (failed["status"], failed["error"]) == ("FAILED", "Failed")
    # The message ends with the code.
    assert '"after-restore/rds/20-users.sql, statement 3: SQLState: 22P02"' in failed["cause"]
    assert preparation.column(NAMES) == ["Customer 1", "Customer 2"]
    assert preparation.column("SELECT count(*) FROM outgoing_mail") == [1]

    upload(preparation.cloud, documented_files() | {"30-quiet": LATE})
    failed = preparation.redrive(failed["executionArn"])
    assert '"after-restore/rds/30-quiet.sql, commit: SQLState: 23505"' in failed["cause"]

    upload(preparation.cloud, documented_files())
    refused = {"operation": "rds:ModifyDBCluster", "kind": "deny"}
    preparation.cloud.set_faults([THROTTLED, refused])
    redriven = preparation.redrive(failed["executionArn"])

    assert redriven["status"] == "SUCCEEDED"
    assert preparation.column("SELECT email FROM customers NATURAL JOIN newsletter") != []
    logins = "SELECT rolname FROM pg_roles WHERE rolname IN ('app', 'report') AND rolcanlogin"
    assert preparation.column(logins) == ["app"]
    assert preparation.column("SELECT count(*) FROM outgoing_mail") == [0]


def test_a_long_file_is_a_build_whose_script_runs_it_in_one_transaction_and_prints_no_row(
    preparation: Preparation, tmp_path: Path
) -> None:
    """moto completes a build without running it. With psql of the wheel, and stand-ins for the other programs."""
    upload(preparation.cloud, {"a.long": "x"})
    assert preparation.run()["status"] == "SUCCEEDED"
    (name,) = preparation.cloud.client("codebuild").list_builds()["ids"]
    assert name.startswith("after-restore-project-")
    definition = json.loads(RESOURCES["StateMachine"]["Properties"]["DefinitionString"])
    build = definition["States"]["Run long file"]["Parameters"]["EnvironmentVariablesOverride"]
    assert all("$.work." in each["Value.$"] for each in build)  # and nothing of the input
    address = preparation.cloud.database_address(CLUSTER)
    file = tmp_path / "file.sql"
    stand_ins = {
        "aws": f'case $1 in s3) cp {file} "$5";; *) echo secret;; esac',
        "jq": "case $2 in .username) echo owner;; *) echo password;; esac",
        "mysql": f'echo "$@" >{tmp_path}/options;'
        """text=$(tee /dev/stderr); case $text in
            *item*) echo "ERROR 1062 (23000) at line 3: Duplicate entry 'a lamp'" >&2; exit 1 ;;
            quit*) ;;
            *"DO 0; COMMIT; SELECT 'committed';") echo committed ;; esac""",
        "mongosh": "echo 'MongoServerError: E11000 duplicate key: a lamp'; exit 1",
        # The local database has no certificate.
        "psql": f'echo "$PGOPTIONS $PGCLIENTENCODING" >{tmp_path}/settings; PGSSLMODE=prefer exec {postgres.package()}/pginstall18/bin/psql "$@"',
    }
    for name, script in stand_ins.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
    spec = yaml.safe_load(RESOURCES["Project"]["Properties"]["Source"]["BuildSpec"])
    (line,) = spec["phases"]["build"]["commands"]
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "ENDPOINT": address["host"],
        "PORT": str(address["port"]),
        "DATABASE_NAME": address["dbname"],
        **dict.fromkeys(("BUCKET", "KEY", "SECRET_ARN"), "for the stand-ins"),
    }

    def run_build(text: str, engine: str = POSTGRESQL) -> tuple[int, str]:
        file.write_text(text)
        command = ["bash", "-c", re.sub(r"/\w+/(?=script|errors)", f"{tmp_path}/", line)]
        given = environment | {"ENGINE": engine}
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
        return done.returncode, (done.stdout + done.stderr).replace(str(tmp_path), "")

    assert run_build(BROKEN) == (3, "psql:/script:4: ERROR:  22P02\n")
    assert run_build(BROKEN, MYSQL) == (1, "ERROR 1062 (23000) at line 3\n")
    assert run_build("quit;", MYSQL) == (1, "the script did not run to its end\n")
    assert run_build("UPDATE t SET n = 1;", MYSQL) == (0, "")
    # Option files could hold force, and the client's own connect would discard what precedes it.
    options = (tmp_path / "options").read_text()
    assert options.startswith("--no-defaults --binary-mode ")
    assert f"--init-command=SET autocommit = 0, {STRICT} --" in options
    assert run_build(BROKEN, "docdb") == (1, "MongoServerError: E11000\n")
    assert preparation.column(NAMES) == ["Anna", "Bo"]
    assert run_build("UPDATE customers SET name = 'x'") == (0, "")
    assert preparation.column(NAMES) == ["x", "x"]
    assert (tmp_path / "settings").read_text() == "-c row_security=off UTF8\n"
    lost = f"-- psql would end well\nUPDATE customers SET name = 'y';\n\\connect {address['dbname']}\nBEGIN;\n"
    assert run_build(lost) == (1, "\\connect is allowed at the beginning only\n")
    assert run_build(lost.replace("UPDATE", "--")) == (0, "")
    assert run_build(lost.replace(";\n\\", "; \\")) == (
        1,
        "\\connect is allowed at the beginning only\n",
    )
    assert run_build(lost.replace("UPDATE", "/* a header */ --").replace(" --", "\n--")) == (0, "")


@pytest.mark.parametrize(
    ("engine", "text", "statements"),
    [
        (POSTGRESQL, "a--1;\nb; c /* ; */; /*+ d */", "a \nb|c|/*+ d */"),
        (POSTGRESQL, "a #- '\\'; e'\\';'; $x$;$x$; \";\"", "a #- '\\'|e'\\';'|$x$;$x$|\";\""),
        (MYSQL, "a--1; b -- ;\n; # ;\nc; d --", "a--1|b|c|d"),
        (MYSQL, "a$$; b$$; '\\';'; \"\\\";\"; `;`", "a$$|b$$|'\\';'|\"\\\";\"|`;`"),
        (MYSQL, "a/* ; */b; /*!50100 ; */; /*+ d */", "a b|/*!50100 ; */|/*+ d */"),
    ],
)
def test_a_file_is_split_by_its_engine_s_rules(
    monkeypatch: pytest.MonkeyPatch, engine: str, text: str, statements: str
) -> None:
    """ "Lexical Structure" of PostgreSQL; "Comments", "String Literals" and "Identifiers" of MySQL."""
    assert "|".join(runner(monkeypatch)["statements"](text, engine)) == statements


def runner(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the function's module."""
    for name in ("BUCKET", "PREFIX", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "eu-west-1")
    exec(RESOURCES["Runner"]["Properties"]["Code"]["ZipFile"], names := {})  # type: ignore[var-annotated]  # noqa: S102
    return names


@pytest.mark.parametrize(
    ("engine", "first"), [(POSTGRESQL, "SET LOCAL row_security = off"), (MYSQL, f"SET {STRICT}")]
)
def test_nothing_hides_a_row_from_a_file_which_must_have_a_statement(
    monkeypatch: pytest.MonkeyPatch, engine: str, first: str
) -> None:
    """A policy of row-level security, or a condition that MySQL cannot evaluate, filters what an UPDATE changes."""
    function, data = runner(monkeypatch), MagicMock()
    body = Mock(read=Mock(side_effect=[b"UPDATE t SET n = 1", b"-- UPDATE t SET n = 1"]))
    function |= {"data": data, "s3": Mock(get_object=lambda **_: {"Body": body})}
    cluster = {"engine": engine, "arn": "a", "secret_arn": "s", "database_name": "d"}
    given = {"do": "run", "input": {"work": {"file": {"key": "10.sql"}, "cluster": cluster}}}
    function["handler"](given, None)
    said = [each.kwargs["sql"] for each in data.execute_statement.call_args_list]
    assert said == [first, "UPDATE t SET n = 1"]
    with pytest.raises(function["Failed"], match=r"10\.sql has no statement"):
        function["handler"](given, None)
