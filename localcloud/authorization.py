"""IAM: what a caller may do, weighed for every request, action and resource.

moto weighs nothing unless told to, and then knows no resources. What is restored here is the IAM User
Guide's *Policy evaluation logic* for identity-based policies: an explicit Deny wins, then any Allow, else
the request is refused, in the words of *Troubleshoot access denied error messages*. Actions and resources
are those of the Service Authorization Reference; wildcards and conditions those of the *IAM JSON policy
elements reference*. moto's own evaluator is not used: it reads wildcards as regular expressions and takes an
Allow whose condition is not met for a Deny.

Left out: resource-based policies, permissions boundaries, session policies, and the verification of
signatures, which only execute-api's endpoint does. What is not known here of a policy that matters to a call
(a condition's operator or key, a policy variable) is an error, :class:`NotRestored`: to pass over a Deny
would let in whom AWS keeps out.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from moto.core.exceptions import ServiceException
from moto.kms.models import kms_backends
from moto.rds.exceptions import KMSKeyNotAccessibleFault
from moto.rds.models import rds_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends

from localcloud import keys
from localcloud.identities import Caller, Document
from localcloud.wire import Answer, Call

Need = tuple[str, str]

# Where IAM's name of the action is not the operation's.
_ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction", "s3:ListObjectsV2": "s3:ListBucket"}
# What RDS tags the secrets with that it manages.
_CLUSTER_TAG = "aws:rds:primaryDBClusterArn"
_TAG_KEY = f"secretsmanager:resourcetag/{_CLUSTER_TAG}".lower()
# "No permissions are required to perform this operation", says the STS API reference.
_FREE = {"sts:GetCallerIdentity"}
# The condition keys that are known here; a request has the last five only sometimes.
_KEYS = {
    "aws:principalaccount",
    "aws:principalarn",
    "aws:requestedregion",
    "aws:resourceaccount",
    "aws:securetransport",
    "cloudwatch:namespace",
    "kms:grantisforawsresource",
    "kms:resourcealiases",
    "kms:viaservice",
    _TAG_KEY,
}


class NotRestored(Exception):
    """A policy says something that is not known here; the text names it."""


class Decision(Enum):
    """What the policies say; the value is the end of AWS's message."""

    ALLOWED = ""
    EXPLICIT_DENY = "with an explicit deny in an identity-based policy"
    IMPLICIT_DENY = "because no identity-based policy allows the {action} action"


def refusal(call: Call, caller: Caller) -> Answer | None:
    """Return the denial; None if the call is allowed."""
    for action, resource in needs(call):
        context = context_of(caller, call.region, resource)
        if "Namespace" in call.parameters:
            context["cloudwatch:namespace"] = str(call.parameters["Namespace"])
        if action == "secretsmanager:GetSecretValue":
            context |= _tag_of_secret(call, resource)
        decision = decide(caller.policies, action, resource, context)
        if decision is not Decision.ALLOWED:
            return denial(
                call,
                f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
                f"{decision.value.format(action=action)}",
            )
    if call.service == "rds" and "KmsKeyId" in call.parameters:
        return _key_refusal(call, caller)
    if call.service == "sns" and call.operation == "Publish" and "TopicArn" in call.parameters:
        return _topic_key_refusal(call, caller)
    return None


def _topic_key_refusal(call: Call, caller: Caller) -> Answer | None:
    """SNS's answer to a publisher who may not use the topic's key: "Key management", SNS Developer Guide.

    The key's policy is taken to leave it to IAM.
    """
    _, _, _, region, account, _ = call.parameters["TopicArn"].split(":")
    topic = sns_backends[account][region].topics.get(call.parameters["TopicArn"])
    name = topic.kms_master_key_id if topic else ""
    if not name or name.endswith("alias/aws/sns"):
        return None
    key = kms_backends[account][region].describe_key(name).arn
    action = _missing(caller, "sns", key, ("kms:GenerateDataKey", "kms:Decrypt"))
    message = f"User: {caller.arn} is not authorized to perform: {action} on resource: {key}"
    return call.error("KMSAccessDenied", message, 400) if action else None


def _missing(caller: Caller, service: str, key: str, actions: Iterable[str]) -> str | None:
    """Return the first of the actions on a key that the caller may not do through the service."""
    region = key.split(":")[3]
    context = context_of(caller, region, key) | {
        "kms:viaservice": f"{service}.{region}.amazonaws.com",
        "kms:grantisforawsresource": "true",
        "kms:resourcealiases": _aliases(key),
    }
    decisions = {each: decide(caller.policies, each, key, context) for each in actions}
    return next((each for each, found in decisions.items() if found is not Decision.ALLOWED), None)


def _tag_of_secret(call: Call, arn: str) -> dict[str, str]:
    secrets: Any = secretsmanager_backends[call.account][call.region].secrets
    tags = secrets[arn].tags or [] if arn in secrets else []
    values = [tag["Value"] for tag in tags if tag["Key"] == _CLUSTER_TAG]
    return dict.fromkeys([_TAG_KEY] if values else [], "".join(values))


def _key_refusal(call: Call, caller: Caller) -> Answer | None:
    """RDS's answer to a caller who may not let it use the keys; one that is not there it refuses itself.

    "Authorizing use of a customer managed key", Aurora User Guide: the caller's own rights on each key are
    CreateGrant and DescribeKey, and what else RDS does, it does by the grant. A share of another account is
    more: for "Copying an encrypted DB cluster snapshot to another account" the guide's policy has the caller
    decrypt and re-encrypt, too; which of it each key needs is "ReEncrypt" of the KMS API reference. The keys'
    policies are taken to leave it to IAM.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_CopyDBClusterSnapshot.CrossAccount.html
    """
    backend: Any = rds_backends[call.account][call.region]
    source = call.parameters.get("SourceDBClusterSnapshotIdentifier")
    try:
        key = backend.key_arn(call.parameters["KmsKeyId"])
        read = backend.source_key(source) if source else None
    except ServiceException:
        return None
    foreign = read is not None and f":{call.account}:" not in read
    using = ("kms:CreateGrant", "kms:DescribeKey")
    reading = (*using, "kms:Decrypt", "kms:ReEncryptFrom") if foreign else using
    writing = (
        (*using, "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptTo") if foreign else using
    )
    for arn, actions in ((key, writing), (read, reading)):
        if arn is None or keys.is_default(arn):
            continue  # whose policy lets everybody in the account use it through RDS
        if action := _missing(caller, "rds", arn, actions):
            fault = KMSKeyNotAccessibleFault(arn)
            return call.error(fault.code, f"{fault.message} ({action})", 400)
    return None


def _aliases(key: str) -> str:
    """A key's aliases, with commas between them, which none can hold."""
    arn = key.split(":")
    if len(arn) < 6:
        return ""
    identifier = arn[5].removeprefix("key/")
    return ",".join(
        alias.alias_name for alias in kms_backends[arn[4]][arn[3]].list_aliases(identifier)
    )


def denial(call: Call, message: str) -> Answer:
    """Access denied, as the call's service says it."""
    if call.service == "sns":
        return call.error("AuthorizationError", message, 403)
    if call.protocol == "query":
        return call.error("AccessDenied", message, 403)
    return call.error("AccessDeniedException", message, 400 if call.protocol == "json" else 403)


def decide(
    policies: Iterable[Document],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> Decision:
    """Weigh an action on a resource against policy documents, under the request's condition keys."""
    decision = Decision.IMPLICIT_DENY
    for policy in policies:
        for statement in _listed(policy["Statement"]):
            if not _applies(statement, action, resource, context or {}):
                continue
            if statement["Effect"] == "Deny":
                return Decision.EXPLICIT_DENY
            decision = Decision.ALLOWED
    return decision


def needs(call: Call) -> list[Need]:
    """The actions and resources a call is weighed on; ``*`` where its service's resources are not known."""
    operation = f"{call.service}:{call.operation}"
    if operation in _FREE:
        return []
    action = _ACTIONS.get(operation, operation)
    found = list(_RESOURCES.get(call.service, _named)(call))
    needed = [(action, resource) for resource in found or ["*"]]
    if (
        call.service == "rds"
        and call.parameters.get("Tags")
        and call.operation != "AddTagsToResource"
    ):
        # "Granting permission to tag resources during creation", Aurora User Guide.
        needed.append(("rds:AddTagsToResource", found[-1] if found else "*"))
    if call.service == "rds-data" and "secretArn" in call.parameters:
        # "Controlling access to the RDS Data API", Aurora User Guide: the caller reads the secret.
        needed.append(("secretsmanager:GetSecretValue", call.parameters["secretArn"]))
    return needed


def context_of(caller: Caller, region: str, resource: str) -> dict[str, str]:
    """The global condition keys of a request; those of its service are for who knows them to add."""
    return {
        "aws:principalarn": caller.arn,
        "aws:principalaccount": caller.account,
        "aws:requestedregion": region,
        "aws:securetransport": "true",
        "aws:resourceaccount": (resource.split(":") + [""] * 5)[4] or caller.account,
    }


def _applies(
    statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]
) -> bool:
    if "NotAction" in statement:
        if _matches(statement["NotAction"], action, fold=True):
            return False
    elif not _matches(statement["Action"], action, fold=True):
        return False
    if "NotResource" in statement:
        if _matches(statement["NotResource"], resource):
            return False
    elif not _matches(statement["Resource"], resource):
        return False
    # Every condition is looked at, so that none that is not known is passed over because of another.
    met = [
        _holds(operator, key.lower(), _listed(expected), context)
        for operator, keys in statement.get("Condition", {}).items()
        for key, expected in keys.items()
    ]
    return all(met)


def _holds(operator: str, key: str, expected: list[Any], context: Mapping[str, str]) -> bool:
    """Whether a condition is met; NotRestored if that is not known here."""
    several = operator.startswith("ForAnyValue:")
    name = operator.removeprefix("ForAnyValue:").removesuffix("IfExists")
    if name not in _OPERATORS and operator != "Null":
        raise NotRestored(f"the condition operator {operator} is not known to the local cloud")
    if key not in _KEYS:
        raise NotRestored(f"the condition key {key} is not known to the local cloud")
    values = [str(value) for value in expected]
    actual = context.get(key)
    if operator == "Null":
        return str(actual is None).lower() in [value.lower() for value in values]
    if actual is None:
        return not several and (name != operator or "Not" in name)
    if several:
        return any(_OPERATORS[name](values, each) for each in actual.split(","))
    return _OPERATORS[name](values, actual)


def _matches(patterns: Any, value: str, fold: bool = False) -> bool:
    """Whether one of the patterns, in which ``*`` and ``?`` are wildcards, matches the whole value."""
    if any("${" in pattern for pattern in _listed(patterns)):
        raise NotRestored(f"policy variables, as in {patterns}, are not known to the local cloud")
    return any(
        re.fullmatch(
            re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."),
            value,
            re.DOTALL | (re.IGNORECASE if fold else 0),
        )
        for pattern in _listed(patterns)
    )


def _unlike(patterns: Any, value: str) -> bool:
    return not _matches(patterns, value)


_OPERATORS: dict[str, Callable[[list[str], str], bool]] = {
    "ArnEquals": _matches,
    "ArnLike": _matches,
    "ArnNotEquals": _unlike,
    "ArnNotLike": _unlike,
    "Bool": lambda values, actual: actual in [value.lower() for value in values],
    "StringEquals": lambda values, actual: actual in values,
    "StringLike": _matches,
    "StringNotEquals": lambda values, actual: actual not in values,
    "StringNotLike": _unlike,
}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# The resources of a call, by service.


def _arn(call: Call, resource: str) -> str:
    return f"arn:aws:{call.service}:{call.region}:{call.account}:{resource}"


def _named(call: Call) -> Iterator[str]:
    """The resource that the first of these parameters names, by its name or its ARN."""
    for member, form in _NAMES.get(call.service, {}).items():
        if value := call.parameters.get(member):
            yield value if value.startswith("arn:") else _arn(call, form.format(value))
            return


# A stack that is called by its name AWS weighs with any id.
_NAMES: dict[str, dict[str, str]] = {
    "cloudformation": {"StackName": "stack/{}/*"},
    "lambda": {"FunctionName": "function:{}"},
    "rds-data": {"resourceArn": "{}"},
    "secretsmanager": {"SecretId": "secret:{}"},
    "sns": {"TopicArn": "{}", "ResourceArn": "{}", "Name": "{}"},
    "states": {"executionArn": "{}", "stateMachineArn": "{}"},
    "sts": {"RoleArn": "{}"},
}


def _parameter(call: Call, name: str) -> str:
    """A parameter's ARN: the name's leading slash is the ARN's, and ``:label`` is no part of it."""
    if name.startswith("arn:"):
        return ":".join(name.split(":")[:6])
    return _arn(call, f"parameter/{name.partition(':')[0].lstrip('/')}")


def _ssm(call: Call) -> Iterator[str]:
    given = call.parameters
    if call.operation.endswith("TagsToResource") or call.operation == "ListTagsForResource":
        yield _parameter(call, given.get("ResourceId", ""))
    elif call.operation == "GetParametersByPath":
        yield _parameter(call, given.get("Path", "").rstrip("/"))
    elif "Parameter" in call.operation:
        for name in given.get("Names") or _listed(given.get("Name", [])):
            yield _parameter(call, name)


def _codepipeline(call: Call) -> Iterator[str]:
    given = call.parameters
    name = given.get("name") or given.get("pipelineName") or given.get("pipeline", {}).get("name")
    if name:
        parts = [given[member] for member in ("stageName", "actionName") if member in given]
        yield _arn(call, "/".join([name, *parts]))
    elif "resourceArn" in given:
        yield given["resourceArn"]


def _rds(call: Call) -> Iterator[str]:
    """Sources before what is made of them; for Describe… operations but that of clusters everything."""
    if call.operation == "DescribeDBClusters":
        yield _arn(call, f"cluster:{call.parameters.get('DBClusterIdentifier', '*').lower()}")
        return
    if call.operation.startswith("Describe") and not call.operation.endswith("Attributes"):
        yield "*"
        return
    kinds = {
        "SourceDBClusterSnapshotIdentifier": "cluster-snapshot",
        "SnapshotIdentifier": "cluster-snapshot",
        "DBClusterIdentifier": "cluster",
        "DBInstanceIdentifier": "db",
        "DBClusterSnapshotIdentifier": "cluster-snapshot",
        "TargetDBClusterSnapshotIdentifier": "cluster-snapshot",
        "ResourceName": "",
    }
    for member, kind in kinds.items():
        identifier = call.parameters.get(member)
        if identifier:
            yield (
                identifier
                if identifier.startswith("arn:")
                else _arn(call, f"{kind}:{identifier.lower()}")
            )


def _s3(call: Call) -> Iterator[str]:
    given = call.parameters
    if "Bucket" in given:
        yield f"arn:aws:s3:::{'/'.join([given['Bucket'], *filter(None, [given.get('Key')])])}"


def _codebuild(call: Call) -> Iterator[str]:
    given = call.parameters
    for name in (given.get("projectName"), *given.get("ids", [])):
        if name:
            yield _arn(call, f"project/{name.partition(':')[0]}")


def _kms(call: Call) -> Iterator[str]:
    """The key: "Use aliases to control access to KMS keys", KMS Developer Guide, has none weighed by an alias."""
    key = call.parameters.get("KeyId")
    if key:
        kind = "" if key.startswith("alias/") else "key/"
        arn = key if key.startswith("arn:") else _arn(call, kind + key)
        owner, found, alias = arn.partition(":alias/")
        if found:
            _, _, _, region, account = owner.split(":")
            backend = kms_backends[account][region]
            # One that is not there is left to KMS to refuse.
            arn = f"{owner}:key/{backend.get_key_id_from_alias(f'alias/{alias}') or alias}"
        yield arn


def _logs(call: Call) -> Iterator[str]:
    given = call.parameters
    if "logGroupName" in given:
        stream = f"log-stream:{given['logStreamName']}" if "logStreamName" in given else ""
        yield _arn(call, f"log-group:{given['logGroupName']}:{stream}")


_RESOURCES: dict[str, Callable[[Call], Iterator[str]]] = {
    "codebuild": _codebuild,
    "codepipeline": _codepipeline,
    "kms": _kms,
    "logs": _logs,
    "rds": _rds,
    "s3": _s3,
    "ssm": _ssm,
}
