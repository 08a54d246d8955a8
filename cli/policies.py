"""The IAM policy of each function: a pure function of the stage.

`aurora-refresh configure` writes them beside the stage's configuration, so that they always name the stage's
own parameters, pipeline, clusters and topic. policies.yaml says what each function is granted.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import yaml  # type: ignore[import-untyped]

from chalicelib.domain import copies, functions, shares
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

Policy = dict[str, Any]

# What a name in policies.yaml stands for.
_Values = dict[str, str | Sequence[str]]

# The rights on the key of an encrypted topic that a publisher needs.
USE_TOPIC_KEY = ["kms:Decrypt", "kms:GenerateDataKey*"]


def policies(stage: Stage) -> dict[str, Policy]:
    """Return the policy of each function that the stage deploys, by Chalice's name of it."""
    if isinstance(stage, AcceptanceStage):
        values, granted = _acceptance(stage), _document()["acceptance"]
        if not stage.settings.pin_api_enabled:
            granted = {name: each for name, each in granted.items() if name != API}
    else:
        values, granted = _production(stage), _document()["production"]
    topics = (stage.settings.topic_arn, stage.settings.chat_topic_arn)
    values |= {
        "region": stage.region,
        "topics": [each for each in topics if each],
        "topic_keys": stage.topic_keys,
    }
    found = {}
    for function, statements in granted.items():
        group = log_group(deployed_name(stage.name, function))
        own: _Values = {
            "in_vpc": ["*"] if function in stage.in_vpc else [],
            "log_streams": _arn(stage, "logs", f"log-group:{group}:*"),
        }
        filled = _filled([*statements, *_document()["every_function"]], values | own)
        found[function] = {
            "Version": "2012-10-17",
            "Statement": [_statement(each) for each in filled if each["Resource"]],
        }
    return found


@cache
def _document() -> dict[str, Any]:
    file = Path(__file__).with_suffix(".yaml")
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def _filled(node: Any, values: _Values) -> Any:
    """Return the node with the values in place of their names."""
    if isinstance(node, dict):
        return {name: _filled(each, values) for name, each in node.items()}
    if isinstance(node, list):
        return [*_entries(node, values)]
    if node.startswith("$") and node[1:] in values:
        return values[node[1:]]
    return Template(node).substitute(values)


def _entries(nodes: Iterable[Any], values: _Values) -> Iterator[Any]:
    """Yield the entries of a list, and of the lists in it."""
    for node in nodes:
        filled = _filled(node, values)
        if isinstance(filled, (list, tuple)):
            yield from filled
        else:
            yield filled


def _statement(filled: dict[str, Any]) -> dict[str, Any]:
    (sid, *more), resources = filled.items(), filled["Resource"]
    resource = resources[0] if len(resources) == 1 else resources
    return dict([sid, ("Effect", "Allow"), *more]) | {"Resource": resource}


def _acceptance(stage: AcceptanceStage) -> _Values:
    settings = stage.settings
    databases = settings.databases

    def parameters(*names: str | None) -> list[str]:
        # The slash that a path begins with is the ARN's own.
        return [_arn(stage, "ssm", f"parameter/{name.removeprefix('/')}") for name in names if name]

    pairs = [(each.latest_parameter, each.current_parameter) for each in databases]
    stacks = dict.fromkeys(each.stack.stack for each in databases if each.stack)
    machines = dict.fromkeys(each.after_restore for each in databases if each.after_restore)
    copied = [each for each in databases if each.copy_policy]
    return {
        "pipeline": stage.pipeline_arn,
        "pipeline_parameter": parameters(settings.pipeline_parameter),
        "parameters": parameters(*settings.promotion_parameters),
        "latest_and_current": parameters(*(name for pair in pairs for name in pair)),
        "latest": parameters(*(latest for latest, _ in pairs)),
        "current": parameters(*(current for _, current in pairs)),
        "hold": parameters(settings.hold_parameter),
        "copied_latest": parameters(*(each.latest_parameter for each in copied)),
        "copied_current": parameters(*(each.current_parameter for each in copied)),
        "stacks": [_arn(stage, "cloudformation", f"stack/{name}/*") for name in stacks],
        "clusters": [_arn(stage, "rds", "cluster:*")] if stacks else [],
        "machines": [*machines],
        "executions": [f"{each.replace(':stateMachine:', ':execution:')}:*" for each in machines],
        **_copying(stage, [each.copy_policy.key for each in copied if each.copy_policy]),
    }


def _copying(stage: AcceptanceStage, names: Sequence[str]) -> _Values:
    """Return what it takes to copy production's shares under the named keys."""
    source_region = stage.settings.source_region or stage.region
    production = stage.settings.databases[0].criteria.account
    productions = f"arn:{stage.partition}:{{}}:{source_region}:{production}:{{}}"
    shares_keys = [productions.format("kms", "key/*")] if names else []
    is_elsewhere = source_region != stage.region
    return {
        "source_region": source_region,
        "productions_snapshots": [productions.format("rds", "cluster-snapshot:*")] if names else [],
        "own_copies": [_arn(stage, "rds", f"cluster-snapshot:{copies.PREFIX}*")] if names else [],
        "shares_keys_elsewhere": shares_keys if is_elsewhere else [],
        "shares_keys_here": [] if is_elsewhere else shares_keys,
        **_keys(stage, names),
    }


def _production(stage: ProductionStage) -> _Values:
    settings = stage.settings
    own_shares = _arn(stage, "rds", f"cluster-snapshot:{shares.PREFIX}*")
    # An automated snapshot's name ends with the time; `*` would match other clusters' as well.
    automated = [
        _arn(stage, "rds", f"cluster-snapshot:rds:{name}-????-??-??-??-??")
        for name in settings.clusters
    ]
    keys = [settings.key] if settings.key else []
    return {
        "clusters": [_arn(stage, "rds", f"cluster:{name}") for name in settings.clusters],
        "own_shares": own_shares,
        "all_keys": _arn(stage, "kms", "key/*"),
        "copied_snapshots": [*automated, own_shares] if keys else [],
        **_keys(stage, keys),
    }


def _arn(stage: Stage, service: str, resource: str) -> str:
    return f"arn:{stage.partition}:{service}:{stage.region}:{stage.account}:{resource}"


def _keys(stage: Stage, names: Iterable[str]) -> _Values:
    """Return own keys, which are named by id, alias or the ARN of either."""
    prefix = _arn(stage, "kms", "")
    ids = [each if "/" in each else f"key/{each}" for each in names]
    arns = dict.fromkeys(each if each.startswith("arn:") else prefix + each for each in ids)
    aliases = [each for each in arns if each.startswith(f"{prefix}alias/")]
    return {
        "keys": [each for each in arns if each not in aliases],
        "aliases": [each.removeprefix(prefix) for each in aliases],
        "keys_by_alias": [f"{prefix}key/*"] if aliases else [],
    }


def log_group(deployed: str) -> str:
    """Return the name of the log group that Lambda writes to."""
    return f"/aws/lambda/{deployed}"


def file_name(stage: str, function: str) -> str:
    """Return the name of the function's policy file in the folder `.chalice`."""
    return f"policy-{stage}-{function.replace('_', '-')}.json"


def with_own_statements(policy: Policy, text: str | None) -> Policy:
    """Return the policy with the statements that somebody added to its file, whose Sid begins with Own.

    Raise ValueError if the file holds no policy.
    """
    try:
        listed = json.loads(text or "{}").get("Statement", [])
        own = [each for each in listed if each.get("Sid", "").startswith("Own")]
    except (AttributeError, TypeError) as error:
        raise ValueError("it holds no policy") from error
    return {**policy, "Statement": [*policy["Statement"], *own]}
