"""What each function may do: its IAM policy, a pure function of the stage's settings.

Written by ``make configure`` beside the stage's configuration, so that no policy can drift from the names
of parameters, pipeline and topic. Each action stands on the resources that it is used on, and on no others;
only the listing of snapshots stands on all, for shares are found by looking at all of them, and IAM weighs
a listing that names none on all of them.
"""

from collections.abc import Sequence
from typing import Any

from chalicelib.domain import functions
from chalicelib.domain.copies import PREFIX
from chalicelib.domain.database import Database
from chalicelib.settings.acceptance import Settings

APP = functions.APP
UPDATE, RESTORE = functions.UPDATE, functions.RESTORE
FOLLOW, COPIES = functions.FOLLOW_PIPELINE, functions.FOLLOW_COPIES
API = "api_handler"

Statement = dict[str, Any]
Policy = dict[str, Any]

# AWS's pages name these by pattern; beside these there are those of key pairs, which no snapshot has.
_SEVERAL = {
    "kms:GenerateDataKey*": ("kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
    "kms:ReEncrypt*": ("kms:ReEncryptFrom", "kms:ReEncryptTo"),
}


def policies(stage: str, settings: Settings, pipeline_arn: str) -> dict[str, Policy]:
    """The policy of each function that the stage deploys, by Chalice's name of the function."""
    partition, _, region, account = pipeline_arn.split(":")[1:5]

    def parameter(name: str) -> str:
        # The slash that a path begins with is the ARN's own.
        return f"arn:{partition}:ssm:{region}:{account}:parameter/{name.removeprefix('/')}"

    def logs(function: str) -> Statement:
        group = log_group(deployed_name(stage, function))
        return _allow(
            "WriteOwnLogs",
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
            [f"arn:{partition}:logs:{region}:{account}:log-group:{group}:*"],
        )

    latest = [parameter(database.latest_parameter) for database in settings.databases]
    current = [parameter(database.current_parameter) for database in settings.databases]
    all_of_a_promotion = [parameter(name) for name in settings.promotion_parameters]
    hold = [parameter(settings.hold_parameter)] if settings.hold_parameter else []
    topic = [settings.topic_arn] if settings.topic_arn else []

    snapshots = _allow("ReadSnapshots", ["rds:DescribeDBClusterSnapshots"], ["*"])
    moving = [
        "ssm:GetParameterHistory",
        "ssm:LabelParameterVersion",
        "ssm:PutParameter",
        "ssm:UnlabelParameterVersion",
    ]
    # Only who may have created *current* may have to take it back by deleting it.
    moving_and_undoing = ["ssm:DeleteParameter", *moving]
    listing = ["codepipeline:ListPipelineExecutions"]
    running = [*listing, "codepipeline:StartPipelineExecution"]
    telling = [_allow("TellPeople", ["sns:Publish"], topic)] if topic else []

    copied = [database for database in settings.databases if database.copy_policy]
    copies = f"arn:{partition}:rds:{region}:{account}:cluster-snapshot:{PREFIX}*"

    statements = {
        UPDATE: [
            snapshots,
            _allow(
                "ReadParameters",
                ["ssm:GetParameters"],
                [arn for pair in zip(latest, current, strict=True) for arn in pair],
            ),
            _allow("RecordLatest", ["ssm:PutParameter"], latest),
            *(_copying(copied, copies, pipeline_arn) if copied else []),
            *telling,
        ],
        RESTORE: [
            snapshots,
            _allow("ReadParameters", ["ssm:GetParameters"], all_of_a_promotion),
            _allow("MoveCurrent", moving_and_undoing, current),
            _allow("RunMainPipeline", running, [pipeline_arn]),
            *telling,
        ],
        FOLLOW: [
            snapshots,
            _allow(
                "ReadParameters", ["ssm:GetParameters"], [parameter(settings.pipeline_parameter)]
            ),
            _allow("MoveCurrent", moving, current),
            _allow("ReadMainPipeline", listing, [pipeline_arn]),
            *telling,
        ],
    }
    if copied:
        latest_of_copies = [parameter(database.latest_parameter) for database in copied]
        current_of_copies = [parameter(database.current_parameter) for database in copied]
        statements[COPIES] = [
            snapshots,
            _allow("ReadParameters", ["ssm:GetParameters"], latest_of_copies + current_of_copies),
            _allow("RecordLatest", ["ssm:PutParameter"], latest_of_copies),
            _allow("ReadHistory", ["ssm:GetParameterHistory"], current_of_copies),
            _allow("DeleteOwnCopies", ["rds:DeleteDBClusterSnapshot"], [copies]),
            *telling,
        ]
    if settings.pin_api_enabled:
        statements[API] = [
            snapshots,
            _allow("ReadParameters", ["ssm:GetParameters"], all_of_a_promotion),
            _allow("MoveCurrent", moving_and_undoing, current),
            *([_allow("HoldAndResume", ["ssm:PutParameter"], hold)] if hold else []),
            _allow("RunMainPipeline", running, [pipeline_arn]),
        ]
    return {
        function: {"Version": "2012-10-17", "Statement": [*granted, logs(function)]}
        for function, granted in statements.items()
    }


def _copying(copied: Sequence[Database], copies: str, pipeline_arn: str) -> list[Statement]:
    """What it takes to copy production's shares under keys of acceptance's.

    RDS uses the keys, both the share's and the copy's, with the caller's rights. What a copy of one's own takes,
    CreateGrant and DescribeKey, is not enough for another account's share; the same five are asked of
    production's key in docs/production.md.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_CopyDBClusterSnapshot.CrossAccount.html
    """
    partition, _, region, account = pipeline_arn.split(":")[1:5]
    production = copied[0].criteria.account
    through_rds = {"StringEquals": {"kms:ViaService": f"rds.{region}.amazonaws.com"}}
    using = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", *_SEVERAL]
    keys = [f"arn:{partition}:kms:{region}:{production}:key/*"]
    aliases = []
    for database in copied:
        assert database.copy_policy is not None
        key = database.copy_policy.key.removeprefix(f"arn:{partition}:kms:{region}:{account}:")
        if key.startswith("alias/"):
            aliases.append(key)
        elif key.startswith("arn:"):
            keys.append(key)
        else:
            keys.append(f"arn:{partition}:kms:{region}:{account}:key/{key.removeprefix('key/')}")
    shares = f"arn:{partition}:rds:{region}:{production}:cluster-snapshot:*"
    statements = [
        _allow("CopyShares", ["rds:CopyDBClusterSnapshot"], [shares, copies]),
        _allow("TagCopies", ["rds:AddTagsToResource"], [copies]),
        _allow("UseKeys", using, list(dict.fromkeys(keys))) | {"Condition": through_rds},
    ]
    if aliases:
        # A policy knows keys by their ARNs alone, and what they are called as a condition.
        called = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": list(dict.fromkeys(aliases))}}
        key = f"arn:{partition}:kms:{region}:{account}:key/*"
        statements.append(
            _allow("UseKeysByAlias", using, [key]) | {"Condition": through_rds | called}
        )
    return statements


def actions(statement: Statement) -> list[str]:
    """The actions that a statement allows, each by its own name: IAM's simulator takes no pattern."""
    return [one for each in statement["Action"] for one in _SEVERAL.get(each, (each,))]


def deployed_name(stage: str, function: str) -> str:
    """Lambda's name of a function: Chalice names the API's after the application and the stage alone."""
    return f"{APP}-{stage}" if function == API else f"{APP}-{stage}-{function}"


def log_group(deployed: str) -> str:
    """Where Lambda writes the function's log."""
    return f"/aws/lambda/{deployed}"


def file_name(stage: str, function: str) -> str:
    """The function's policy file, in the folder ``.chalice``."""
    return f"policy-{stage}-{function.replace('_', '-')}.json"


def _allow(sid: str, actions: Sequence[str], resources: Sequence[str]) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": [*actions],
        "Resource": resources[0] if len(resources) == 1 else [*resources],
    }
