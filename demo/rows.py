"""`make demo SCENARIO=rows`: play two refreshes of a database with rows, masked before testers are admitted.

The rows are in a real PostgreSQL. The after-restore work is infrastructure/after-restore.yaml with the files in
docs/after-restore.md, executed by moto's interpreter of state machines.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from demo.acceptance import PIPELINE, STAGE, Company, configure, nightly
from demo.output import expect, fire, gist, say, say_notifications, short, title
from demo.pipeline import REFERENCE, reference_parameters
from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.client import LocalCloud

PROJECT = Path(__file__).resolve().parent.parent
PAGE = (PROJECT / "docs/after-restore.md").read_text()
# As in the page's command; the state machine may change the clusters of this stack.
_COMMAND = PAGE.partition("--parameter-overrides")[2].partition("```")[0]
PARAMETERS = dict(re.findall(r"\b([A-Z]\w+)='?([^\s']+)", _COMMAND))
STACK = "acceptance-data"
BUCKET = PARAMETERS["Bucket"]
BUILDS, TESTERS = PARAMETERS["BuildSecurityGroupId"], PARAMETERS["TesterSecurityGroupIds"]
SUNDAY = datetime(2026, 1, 4, 2, tzinfo=UTC)
SHOP = """
CREATE TABLE customers (id int PRIMARY KEY, name text, email text UNIQUE);
CREATE TABLE newsletter (email text REFERENCES customers (email));
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers (id), item text);
CREATE TABLE outgoing_mail (body text);
CREATE TABLE webhooks (active boolean);
CREATE ROLE app LOGIN;
INSERT INTO customers VALUES (1, 'Anna', 'anna@example.nl');
INSERT INTO newsletter VALUES ('anna@example.nl');
INSERT INTO orders VALUES (1, 1, 'a lamp');
"""
ORDERS = (
    "SELECT orders.id, item, email FROM orders JOIN customers ON customer = customers.id "
    "ORDER BY orders.id"
)
MISTAKE = "UPDATE customers SET e_mail = 'masked';"

Rows = list[dict[str, Any]]


def run_rows(cloud: LocalCloud, copy: Path) -> Company:
    """Play both refreshes, and return the company afterwards."""
    title("A shop in production, and its acceptance account")
    say(f"local cloud at {cloud.endpoint}: production {PRODUCTION}, acceptance {ACCEPTANCE}")
    create_shop(cloud)
    say_rows("production", rows(cloud, "orders", PRODUCTION))
    machine = deploy_preparation(cloud)
    say(f"infrastructure/after-restore.yaml is deployed: {short(machine)}")
    upload(cloud, documented_files())
    configure(copy, RDS_AFTER_RESTORE=machine, RDS_STACK_NAME=STACK)
    company = Company(cloud, copy)
    company.found(
        SUNDAY - timedelta(hours=10),
        stack=STACK,
        template=REFERENCE,
        parameters=reference_parameters(cloud, company.current, BUILDS),
    )
    company.chalice("deploy", "--stage", STAGE)

    title("Saturday: somebody orders in production, and a snapshot is shared")
    cloud.sql("orders", "INSERT INTO orders VALUES (2, 1, 'a chair')", PRODUCTION)
    refresh(company, SUNDAY)
    reconcile(company, SUNDAY + timedelta(hours=3))
    expect(company.good() == company.parameter(company.current), company.good())
    check_prepared(company, items=["a lamp", "a chair"])
    cloud.sql(cluster_of(company), "INSERT INTO orders VALUES (9, 1, 'a test order')")
    say("a tester adds a row of their own")

    title("Two weeks later: another order, and somebody has broken the masking")
    good = company.good()
    cloud.sql("orders", "INSERT INTO orders VALUES (3, 1, 'a table')", PRODUCTION)
    upload(cloud, {**documented_files(), "10-mask": MISTAKE})
    later = SUNDAY + timedelta(weeks=2)
    refresh(company, later)
    for minutes in (0, 15):  # people are notified once
        reconcile(company, later + timedelta(hours=3, minutes=minutes))
    expect(company.good() == good, company.good())
    expect(groups(company) == [BUILDS], groups(company))
    say(f"testers are kept out; good is still {short(good)}")

    title("An engineer corrects the file, and redrives the execution")
    upload(cloud, documented_files())
    (failed, *_) = cloud.client("stepfunctions").list_executions(stateMachineArn=machine)[
        "executions"
    ]
    cloud.client("stepfunctions").redrive_execution(executionArn=failed["executionArn"])
    ended = cloud.wait_for_execution(failed["executionArn"])
    expect(ended["status"] == "SUCCEEDED", ended)
    reconcile(company, later + timedelta(hours=7))
    expect(company.good() == company.parameter(company.current) != good, company.good())
    check_prepared(company, items=["a lamp", "a chair", "a table"])
    return company


def create_shop(cloud: LocalCloud) -> None:
    """Create production's cluster with a first customer and order."""
    cloud.client("rds", PRODUCTION).create_db_cluster(
        DBClusterIdentifier="orders",
        Engine="aurora-postgresql",
        EngineVersion="15.4",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
    )
    cloud.sql("orders", SHOP, PRODUCTION)


def deploy_preparation(cloud: LocalCloud) -> str:
    """Deploy the state machine as docs/after-restore.md says, and return its ARN."""
    cloud.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    cloudformation = cloud.client("cloudformation")
    cloud.set_seconds(stack=0)
    cloudformation.create_stack(
        StackName="after-restore",
        TemplateBody=(PROJECT / "infrastructure/after-restore.yaml").read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value} for name, value in PARAMETERS.items()
        ],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName="after-restore", WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
    )
    (stack,) = cloudformation.describe_stacks(StackName="after-restore")["Stacks"]
    return str(stack["Outputs"][0]["OutputValue"])


def documented_files() -> dict[str, str]:
    """Return the SQL files in docs/after-restore.md by name."""
    return dict(re.findall(r"`([\w-]+)\.sql`:\n\n```sql\n(.*?)```", PAGE, re.DOTALL))


def upload(cloud: LocalCloud, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        key = f"after-restore/rds/{name}.sql"
        cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=text.encode())


def refresh(company: Company, night: datetime) -> None:
    """Share, update and restore; when the run has ended, the state machine is started."""
    company.cloud.set_clock(night)
    company.cloud.seed_snapshots([nightly("orders", night - timedelta(hours=6), rows=True)])
    fire(company, "db-update-latest-snapshot-id", night)
    four = night + timedelta(hours=2)
    title(f"{four:%A %d %B, %H:%M} UTC, db-restore-from-snapshot")
    answer = fire(company, "db-restore-from-snapshot", four)
    expect(answer["outcome"] == "started", gist(answer))
    status = company.followed(answer["execution_id"])
    expect(status == "Succeeded", status)
    say(f"the run of {PIPELINE} succeeded, and the after-restore work has been started")
    expect(company.notifications() == [], "a notification before the data is prepared")
    stepfunctions = company.client("stepfunctions")
    machine = company.variables["RDS_AFTER_RESTORE"]
    (newest, *_) = stepfunctions.list_executions(stateMachineArn=machine)["executions"]
    ended = company.cloud.wait_for_execution(newest["executionArn"])
    say(f"execution {newest['name']}: {ended['status'].lower()}")


def reconcile(company: Company, time: datetime) -> None:
    title(f"{time:%A %d %B, %H:%M} UTC, db-reconcile")
    fire(company, "db-reconcile", time)
    say_notifications(company)


def check_prepared(company: Company, items: list[str]) -> None:
    """Check that exactly production's newest rows are there, masked, and that testers are admitted."""
    found = rows(company.cloud, cluster_of(company))
    say_rows("acceptance", found)
    expect([row["item"] for row in found] == items, found)
    expect(all(row["email"].endswith("@masked.invalid") for row in found), found)
    expect(groups(company) == [TESTERS], groups(company))
    say("testers are admitted")


def rows(cloud: LocalCloud, cluster: str, account: str = ACCEPTANCE) -> Rows:
    found: Rows = cloud.sql(cluster, ORDERS, account)
    return found


def say_rows(side: str, found: Rows) -> None:
    for row in found:
        say(f"{side}: order {row['id']}, {row['item']}, for {row['email']}")


def cluster_of(company: Company) -> str:
    (cluster,) = company.clusters()
    return cluster


def groups(company: Company) -> list[str]:
    (cluster,) = company.client("rds").describe_db_clusters()["DBClusters"]
    return [group["VpcSecurityGroupId"] for group in cluster["VpcSecurityGroups"]]
