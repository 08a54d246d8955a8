"""The IAM policy of each function, a pure function of the stage, and what production's key policy needs.

`aurora-refresh configure` writes them beside the stage's configuration, so that they always name the stage's
own parameters, pipeline, clusters and topic. policies.yaml says what is granted.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from string import Template
from typing import Any

import yaml  # type: ignore[import-untyped]

from chalicelib.domain import copies, functions, shares
from chalicelib.domain.functions import API, deployed_name
from cli.stages import AcceptanceStage, ProductionStage, Stage

# Chalice's entry for each function, without its policy. Only one invocation at a time may move *current*,
# or share and delete.
FUNCTIONS: dict[str, dict[str, int]] = {
    functions.UPDATE: {"lambda_timeout": 300},
    functions.RESTORE: {"lambda_timeout": 120, "reserved_concurrency": 1},
    functions.FOLLOW_PIPELINE: {"lambda_timeout": 120, "reserved_concurrency": 1},
    functions.RECONCILE: {"lambda_timeout": 120, "reserved_concurrency": 1},
    API: {"lambda_timeout": 29},  # as long as API Gateway waits
    functions.SHARE: {"lambda_timeout": 900},
    functions.FOLLOW_SHARES: {"lambda_timeout": 900, "reserved_concurrency": 1},
}

Policy = dict[str, Any]

# What a name in policies.yaml stands for, and the services whose name stands for the first parts of an ARN.
_Values = dict[str, Sequence[str]]
_SERVICES = ("cloudformation", "kms", "logs", "rds", "ssm")

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
    settings = stage.settings
    topics = [each for each in (settings.topic_arn, settings.chat_topic_arn) if each]
    values |= {
        "partition": [stage.partition],
        "region": [stage.region],
        "topics": topics,
        "topic_accounts": [*dict.fromkeys(each.split(":")[4] for each in topics)],
    }
    values |= {service: [_arn(stage, service)] for service in _SERVICES}
    found = {}
    for function, statements in granted.items():
        own: _Values = {
            "in_vpc": ["*"] if function in stage.in_vpc else [],
            "log_group": [log_group(deployed_name(stage.name, function))],
        }
        filled = _filled([*statements, *_document()["every_function"]], values | own)
        found[function] = {
            "Version": "2012-10-17",
            "Statement": [_statement(each) for each in filled if each["Resource"]],
        }
    return found


def key_statements(partition: str, account: str, regions: Iterable[str]) -> list[dict[str, Any]]:
    """Return what production's key policy needs: see docs/production.md, which quotes it."""
    values: _Values = {"partition": [partition], "account": [account], "regions": [*regions]}
    return [_statement(each) for each in _filled(_document()["key_of_shares"], values)]


@cache
def _document() -> dict[str, Any]:
    file = Path(__file__).with_suffix(".yaml")
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def _filled(node: Any, values: _Values) -> list[Any]:
    """Return the entries of a list, or the one of something else, with the values in place of their names."""
    if isinstance(node, list):
        return [entry for each in node for entry in _filled(each, values)]
    if isinstance(node, dict):
        filled = {name: _filled(each, values) for name, each in node.items()}
        is_list = {name: isinstance(each, list) for name, each in node.items()}
        return [{name: each if is_list[name] else each[0] for name, each in filled.items()}]
    text = Template(node)
    names = text.get_identifiers()
    combinations = product(*(values[name] for name in names))
    return [text.substitute(dict(zip(names, each, strict=True))) for each in combinations]


def _statement(filled: dict[str, Any]) -> dict[str, Any]:
    (sid, *more), resources = filled.items(), filled["Resource"]
    resource = resources[0] if len(resources) == 1 else resources
    return dict([sid, ("Effect", "Allow"), *more]) | {"Resource": resource}


def _acceptance(stage: AcceptanceStage) -> _Values:
    settings = stage.settings
    databases = settings.databases
    copied = [each for each in databases if each.copy_policy]
    stacks = dict.fromkeys(each.stack.stack for each in databases if each.stack)
    machines = dict.fromkeys(each.after_restore for each in databases if each.after_restore)
    source_region = settings.source_region or stage.region
    is_elsewhere = source_region != stage.region
    return {
        "pipeline": [stage.pipeline_arn],
        "parameters": _bare(*settings.promotion_parameters),
        "latest": _bare(*(each.latest_parameter for each in databases)),
        "current": _bare(*(each.current_parameter for each in databases)),
        "hold": _bare(settings.hold_parameter),
        "copied_latest": _bare(*(each.latest_parameter for each in copied)),
        "stacks": [*stacks],
        "clusters": ["*"] if stacks else [],
        "machines": [*machines],
        "executions": [each.replace(":stateMachine:", ":execution:") for each in machines],
        "copies": [copies.PREFIX] if copied else [],
        "production": [databases[0].criteria.account] if copied else [],
        "source_region": [source_region],
        "source_elsewhere": [source_region] if is_elsewhere else [],
        "source_here": [] if is_elsewhere else [source_region],
        **_keys(stage, [each.copy_policy.key for each in copied if each.copy_policy]),
    }


def _bare(*names: str | None) -> list[str]:
    """Return the names of parameters without the slash of a path, which is their ARN's own."""
    return [name.removeprefix("/") for name in names if name]


def _production(stage: ProductionStage) -> _Values:
    settings = stage.settings
    keys = [settings.key] if settings.key else []
    return {
        "clusters": settings.clusters,
        "shares": [shares.PREFIX],
        "copied_clusters": settings.clusters if keys else [],
        "copied_shares": [shares.PREFIX] if keys else [],
        **_keys(stage, keys),
    }


def _arn(stage: Stage, service: str) -> str:
    return f"arn:{stage.partition}:{service}:{stage.region}:{stage.account}"


def _keys(stage: Stage, names: Iterable[str]) -> _Values:
    """Return own keys, which are named by id, alias or the ARN of either."""
    prefix = f"{_arn(stage, 'kms')}:"
    ids = [each if "/" in each else f"key/{each}" for each in names]
    arns = dict.fromkeys(each if each.startswith("arn:") else prefix + each for each in ids)
    aliases = [each for each in arns if each.startswith(f"{prefix}alias/")]
    return {
        "keys": [each for each in arns if each not in aliases],
        "aliases": [each.removeprefix(prefix) for each in aliases],
        "keys_by_alias": ["*"] if aliases else [],
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
