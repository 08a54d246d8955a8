"""The IAM policy of each function: a pure function of the stage.

`aurora-refresh configure` writes them beside the stage's configuration, so that they always name the stage's
own parameters, pipeline, clusters and topic. Each action is granted only on the resources that it is
used on. Snapshots and clusters are listed on `*`, because IAM authorizes a listing that way.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib.domain import copies, functions, shares
from chalicelib.domain.database import Database
from chalicelib.domain.functions import API, deployed_name
from cli.stages import AcceptanceStage, ProductionStage, Stage

# Chalice's entry of each function, without its policy. Only one invocation at a time moves *current*,
# or shares and deletes.
FUNCTIONS: dict[str, dict[str, int]] = {
    functions.UPDATE: {"lambda_timeout": 300},
    functions.RESTORE: {"lambda_timeout": 120, "reserved_concurrency": 1},
    functions.FOLLOW_PIPELINE: {"lambda_timeout": 120, "reserved_concurrency": 1},
    functions.RECONCILE: {"lambda_timeout": 120, "reserved_concurrency": 1},
    API: {"lambda_timeout": 29},  # as long as API Gateway waits
    functions.SHARE: {"lambda_timeout": 300},
    functions.FOLLOW_SHARES: {"lambda_timeout": 300, "reserved_concurrency": 1},
}

Statement = dict[str, Any]
Policy = dict[str, Any]

# AWS's guides name the last two by pattern. The other actions that match are for data key pairs.
_USE_KEY = [
    *("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey"),
    *("kms:GenerateDataKey*", "kms:ReEncrypt*"),
]

# The rights on the key of an encrypted topic that a publisher needs.
# https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
USE_TOPIC_KEY = ["kms:Decrypt", "kms:GenerateDataKey*"]


def policies(stage: Stage) -> dict[str, Policy]:
    """Return the policy of each function that the stage deploys, by Chalice's name of it."""
    statements = _acceptance(stage) if isinstance(stage, AcceptanceStage) else _production(stage)
    return {
        function: {
            "Version": "2012-10-17",
            "Statement": [
                *granted,
                *([_JOIN_VPC] if function in stage.in_vpc else []),
                _write_logs(stage, function),
            ],
        }
        for function, granted in statements.items()
    }


def _acceptance(stage: AcceptanceStage) -> dict[str, list[Statement]]:
    settings = stage.settings

    def parameters(names: Iterable[str]) -> list[str]:
        # The slash that a path begins with is the ARN's own.
        return [_arn(stage, "ssm", f"parameter/{name.removeprefix('/')}") for name in names]

    latest = parameters(database.latest_parameter for database in settings.databases)
    current = parameters(database.current_parameter for database in settings.databases)
    all_parameters = parameters(settings.promotion_parameters)
    hold = parameters([settings.hold_parameter] if settings.hold_parameter else [])

    snapshots = _allow("ReadSnapshots", ["rds:DescribeDBClusterSnapshots"], ["*"])
    move = [
        "ssm:GetParameterHistory",
        "ssm:LabelParameterVersion",
        "ssm:PutParameter",
        "ssm:UnlabelParameterVersion",
        "ssm:DeleteParameter",  # a *current* that a failed first promotion created
    ]
    look_at_runs = ["codepipeline:ListPipelineExecutions", "codepipeline:ListActionExecutions"]
    run = [
        *look_at_runs,
        "codepipeline:GetPipelineState",
        "codepipeline:StartPipelineExecution",
    ]
    look_at_deployed = _look_at_deployed(stage)
    prepare = _prepare(stage)
    notify = _notify(stage)

    copied = [database for database in settings.databases if database.copy_policy]
    copied_latest = parameters(database.latest_parameter for database in copied)
    own_copies = _arn(stage, "rds", f"cluster-snapshot:{copies.PREFIX}*")

    pipeline_parameter = parameters([settings.pipeline_parameter])
    reconcile = [
        snapshots,
        *look_at_deployed,
        _allow("MoveCurrent", move, current),
        _allow("LookAtMainPipeline", look_at_runs, [stage.pipeline_arn]),
        *prepare,
        *notify,
    ]
    statements = {
        functions.UPDATE: [
            snapshots,
            _allow(
                "ReadParameters",
                ["ssm:GetParameters"],
                [arn for pair in zip(latest, current, strict=True) for arn in pair],
            ),
            _allow("RecordLatest", ["ssm:PutParameter"], latest),
            *notify,
        ],
        functions.RESTORE: [
            snapshots,
            *look_at_deployed,
            _allow("ReadParameters", ["ssm:GetParameters"], all_parameters),
            _allow("MoveCurrent", move, current),
            _allow("RunMainPipeline", run, [stage.pipeline_arn]),
            *notify,
        ],
        functions.FOLLOW_PIPELINE: [
            _allow("ReadParameters", ["ssm:GetParameters"], pipeline_parameter),
            *reconcile,
        ],
        functions.RECONCILE: [
            _allow(
                "ReadParameters",
                ["ssm:GetParameters"],
                [
                    *pipeline_parameter,
                    *copied_latest,
                    *parameters(database.current_parameter for database in copied),
                ],
            ),
            *reconcile,
        ],
    }
    if copied:
        copy_shares = _copy(stage, copied, own_copies)
        statements[functions.UPDATE] += [
            *copy_shares,
            _allow("WantCopies", ["ssm:LabelParameterVersion"], copied_latest),
        ]
        statements[functions.RECONCILE] += [
            _allow(
                "RecordLatest",
                ["ssm:GetParameterHistory", "ssm:PutParameter", "ssm:UnlabelParameterVersion"],
                copied_latest,
            ),
            *copy_shares,
            _allow("DeleteOwnCopies", ["rds:DeleteDBClusterSnapshot"], [own_copies]),
        ]
    if settings.pin_api_enabled:
        statements[API] = [
            snapshots,
            *look_at_deployed,
            _allow("ReadParameters", ["ssm:GetParameters"], all_parameters),
            _allow("MoveCurrent", move, current),
            *[each for each in prepare if each["Sid"] == "LookAtPreparation"],
            *([_allow("HoldAndResume", ["ssm:PutParameter"], hold)] if hold else []),
            _allow("RunMainPipeline", run, [stage.pipeline_arn]),
        ]
    return statements


def _look_at_deployed(stage: AcceptanceStage) -> list[Statement]:
    """Return what it takes to look at the stacks of the databases and at their clusters."""
    stacks = dict.fromkeys(each.stack.stack for each in stage.settings.databases if each.stack)
    if not stacks:
        return []
    return [
        _allow(
            "LookAtStacks",
            ["cloudformation:DescribeStacks", "cloudformation:ListStackResources"],
            [_arn(stage, "cloudformation", f"stack/{name}/*") for name in stacks],
        ),
        _allow("LookAtClusters", ["rds:DescribeDBClusters"], [_arn(stage, "rds", "cluster:*")]),
    ]


def _prepare(stage: AcceptanceStage) -> list[Statement]:
    """Return what it takes to run the state machines that prepare restored clusters."""
    machines = [each.after_restore for each in stage.settings.databases if each.after_restore]
    if not machines:
        return []
    executions = [f"{each.replace(':stateMachine:', ':execution:')}:*" for each in machines]
    return [
        _allow("Prepare", ["states:StartExecution"], [*dict.fromkeys(machines)]),
        _allow("LookAtPreparation", ["states:DescribeExecution"], [*dict.fromkeys(executions)]),
    ]


def _copy(stage: AcceptanceStage, copied: Sequence[Database], own_copies: str) -> list[Statement]:
    """Return what it takes to copy production's shares under acceptance's keys.

    RDS uses the keys of both the share and the copy with the caller's rights. CreateGrant and
    DescribeKey, enough for copying an own snapshot, are not enough for another account's.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_CopyDBClusterSnapshot.CrossAccount.html
    """
    production = copied[0].criteria.account
    source_region = stage.settings.source_region or stage.region
    of_production = f"arn:{stage.partition}:{{}}:{source_region}:{production}:{{}}"
    productions, keys, aliases = of_production.format("kms", "key/*"), [], []
    for database in copied:
        assert database.copy_policy is not None
        arn, alias = _key(stage, database.copy_policy.key)
        if alias:
            aliases.append(alias)
        else:
            keys.append(arn)
    condition = _through_rds(stage)
    if source_region == stage.region:
        keys, use_productions = [productions, *keys], []
    else:
        # In which of the two Regions RDS uses the share's key is not documented.
        regions = [f"rds.{each}.amazonaws.com" for each in (source_region, stage.region)]
        through_either = {"StringEquals": {"kms:ViaService": regions}}
        use_productions = [_allow("UseSourceKeys", _USE_KEY, [productions], through_either)]
    statements = [
        _allow(
            "CopyShares",
            ["rds:CopyDBClusterSnapshot"],
            [of_production.format("rds", "cluster-snapshot:*"), own_copies],
        ),
        _allow("TagCopies", ["rds:AddTagsToResource"], [own_copies]),
        *use_productions,
    ]
    if keys:
        statements.append(_allow("UseKeys", _USE_KEY, list(dict.fromkeys(keys)), condition))
    if aliases:
        key = _arn(stage, "kms", "key/*")
        statements.append(
            _allow("UseKeysByAlias", _USE_KEY, [key], condition | _called(dict.fromkeys(aliases)))
        )
    return statements


def _production(stage: ProductionStage) -> dict[str, list[Statement]]:
    settings = stage.settings
    own_shares = _arn(stage, "rds", f"cluster-snapshot:{shares.PREFIX}*")
    clusters = [_arn(stage, "rds", f"cluster:{name}") for name in settings.clusters]
    # An automated snapshot's name ends with the time; `*` would match other clusters' as well.
    automated = [
        _arn(stage, "rds", f"cluster-snapshot:rds:{name}-????-??-??-??-??")
        for name in settings.clusters
    ]
    snapshots = _allow("ReadSnapshots", ["rds:DescribeDBClusterSnapshots"], ["*"])
    take = [
        _allow("ReadClusters", ["rds:DescribeDBClusters"], ["*"]),
        snapshots,
        _allow("TakeSnapshots", ["rds:CreateDBClusterSnapshot"], [*clusters, own_shares]),
        _allow("TagSnapshots", ["rds:AddTagsToResource"], [own_shares]),
        _allow("ReadKeys", ["kms:DescribeKey"], [_arn(stage, "kms", "key/*")]),
    ]
    if settings.key:
        arn, alias = _key(stage, settings.key)
        condition = _through_rds(stage) | (_called([alias]) if alias else {})
        take += [
            _allow(
                "CopyAutomatedSnapshots", ["rds:CopyDBClusterSnapshot"], [*automated, own_shares]
            ),
            _allow("UseKey", ["kms:CreateGrant"], [arn], condition),
        ]
    follow = [
        snapshots,
        _allow(
            "ShareAndDelete",
            [
                "rds:DescribeDBClusterSnapshotAttributes",
                "rds:ModifyDBClusterSnapshotAttribute",
                "rds:DeleteDBClusterSnapshot",
            ],
            [own_shares],
        ),
    ]
    return {
        functions.SHARE: [*take, *_notify(stage)],
        functions.FOLLOW_SHARES: [*follow, *_notify(stage)],
    }


def _notify(stage: Stage) -> list[Statement]:
    topics = [each for each in (stage.settings.topic_arn, stage.settings.chat_topic_arn) if each]
    statements = [_allow("Notify", ["sns:Publish"], topics)] if topics else []
    if stage.topic_keys:
        through_sns = {"StringEquals": {"kms:ViaService": f"sns.{stage.region}.amazonaws.com"}}
        statements.append(_allow("UseTopicKeys", USE_TOPIC_KEY, stage.topic_keys, through_sns))
    return statements


def _write_logs(stage: Stage, function: str) -> Statement:
    group = log_group(deployed_name(stage.name, function))
    return _allow(
        "WriteOwnLogs",
        ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
        [_arn(stage, "logs", f"log-group:{group}:*")],
    )


def _arn(stage: Stage, service: str, resource: str) -> str:
    return f"arn:{stage.partition}:{service}:{stage.region}:{stage.account}:{resource}"


def _key(stage: Stage, key: str) -> tuple[str, str | None]:
    """Return the ARN of an own key, and its alias if it is named by one.

    A policy cannot name a key by its alias, only restrict all keys to it by a condition.
    """
    key = key.removeprefix(_arn(stage, "kms", ""))
    if key.startswith("alias/"):
        return _arn(stage, "kms", "key/*"), key
    if key.startswith("arn:"):
        return key, None
    return _arn(stage, "kms", f"key/{key.removeprefix('key/')}"), None


def _through_rds(stage: Stage) -> dict[str, Any]:
    return {"StringEquals": {"kms:ViaService": f"rds.{stage.region}.amazonaws.com"}}


def _called(aliases: Iterable[str]) -> dict[str, Any]:
    return {"ForAnyValue:StringEquals": {"kms:ResourceAliases": [*aliases]}}


def log_group(deployed: str) -> str:
    """Return the name of the log group that Lambda writes to."""
    return f"/aws/lambda/{deployed}"


def file_name(stage: str, function: str) -> str:
    """Return the name of the function's policy file in the folder `.chalice`."""
    return f"policy-{stage}-{function.replace('_', '-')}.json"


def with_own_statements(policy: Policy, text: str | None) -> Policy:
    """Return the policy with the statements that somebody added to its file, whose Sid begins with Own."""
    try:
        listed = json.loads(text or "{}").get("Statement", [])
        own = [each for each in listed if each.get("Sid", "").startswith("Own")]
    except (AttributeError, TypeError, ValueError):
        return policy  # the file is written again
    return {**policy, "Statement": [*policy["Statement"], *own]}


def _allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    condition: Mapping[str, Any] | None = None,
) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": [*actions],
        "Resource": resources[0] if len(resources) == 1 else [*resources],
        **({"Condition": condition} if condition else {}),
    }


# What Lambda needs of the role of a function in a VPC, on every resource: a subnet may be another account's.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
_JOIN_VPC = _allow(
    "JoinVpc",
    [
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DeleteNetworkInterface",
    ],
    ["*"],
)
