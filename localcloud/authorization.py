"""IAM: what a caller may do, decided for every request, action and resource.

moto ignores policies. Restored is *Policy evaluation logic* (IAM User Guide) for identity-based policies: an
explicit Deny wins, then any Allow, else the request is refused, in the words of *Troubleshoot access denied
error messages*. Actions and resources are those of the Service Authorization Reference, as far as this
project's policies name them. A condition or a policy variable that is not known here is an error: to ignore a
Deny would let somebody in.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from moto.core.exceptions import ServiceException
from moto.kms.models import kms_backends
from moto.rds.models import rds_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends
from werkzeug.wrappers import Response

from localcloud import keys
from localcloud.identities import Caller, Document
from localcloud.wire import Call

Need = tuple[str, str]
# The values of a request's condition keys, which are in lower case.
Context = Mapping[str, list[str]]

# The tag of the secrets that RDS manages.
_CLUSTER_TAG = "aws:rds:primaryDBClusterArn"
_TAG_KEY = f"secretsmanager:resourcetag/{_CLUSTER_TAG}".lower()
_CONDITION_KEYS = {"aws:sourcearn", "kms:resourcealiases", "kms:viaservice", _TAG_KEY}
# Where IAM's name of the action is not the operation's.
_ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction", "s3:ListObjectsV2": "s3:ListBucket"}
# "Granting permission to tag resources during creation", Aurora User Guide.
_TAGGING = {"CopyDBClusterSnapshot", "CreateDBClusterSnapshot"}


class NotRestored(ValueError):
    """A policy says something that is not known here; the text names it."""


class Decision(Enum):
    """What the policies say; the value is the end of AWS's message."""

    ALLOWED = ""
    EXPLICIT_DENY = "with an explicit deny in an identity-based policy"
    IMPLICIT_DENY = "because no identity-based policy allows the {action} action"


# --- policies -------------------------------------------------------------------------------------


def decide(
    policies: Iterable[Document], action: str, resource: str, context: Context | None = None
) -> Decision:
    """Evaluate policy documents for an action on a resource, given the request's condition keys."""
    decision = Decision.IMPLICIT_DENY
    for policy in policies:
        for statement in _listed(policy["Statement"]):
            if not _applies(statement, action, resource, context or {}):
                continue
            if statement["Effect"] == "Deny":
                return Decision.EXPLICIT_DENY
            decision = Decision.ALLOWED
    return decision


def service_may(
    statements: Iterable[Mapping[str, Any]],
    service: str,
    action: str,
    resource: str,
    source_arn: str,
) -> bool:
    """Return whether a resource-based policy lets a service act on behalf of that source.

    *Granting Lambda function access to AWS services*, Lambda Developer Guide.
    """
    own = [each for each in statements if each["Principal"] == {"Service": service}]
    context = {"aws:sourcearn": [source_arn]}
    return decide([{"Statement": own}], action, resource, context) is Decision.ALLOWED


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    if not _matches(_listed(statement["Action"]), action, re.IGNORECASE):
        return False
    if not _matches(_listed(statement["Resource"]), resource):
        return False
    return all(
        _is_met(operator, key.lower(), _listed(expected), context)
        for operator, conditions in statement.get("Condition", {}).items()
        for key, expected in conditions.items()
    )


def _is_met(operator: str, key: str, expected: list[str], context: Context) -> bool:
    test = _OPERATORS.get(operator.removeprefix("ForAnyValue:"))
    if test is None or key not in _CONDITION_KEYS:
        raise NotRestored(f"the condition {operator} of {key} is not known to the local cloud")
    return any(test(expected, value) for value in context.get(key, []))


def _matches(patterns: list[str], value: str, flags: int = 0) -> bool:
    """Return whether one of the patterns, with the wildcards ``*`` and ``?``, matches the whole value."""
    if any("${" in pattern for pattern in patterns):
        raise NotRestored(f"policy variables, as in {patterns}, are not known to the local cloud")
    expressions = [re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in patterns]
    return any(re.fullmatch(each, value, re.DOTALL | flags) for each in expressions)


def _is_arn_like(patterns: list[str], arn: str) -> bool:
    """Return whether each of the ARN's six parts matches that of one of the patterns."""
    parts = arn.split(":", 5)
    return any(
        len(expected) == len(parts)
        and all(_matches([each], part) for each, part in zip(expected, parts, strict=True))
        for expected in (pattern.split(":", 5) for pattern in patterns)
    )


_OPERATORS: dict[str, Callable[[list[str], str], bool]] = {
    "ArnLike": _is_arn_like,
    "StringEquals": lambda expected, value: value in expected,
    "StringLike": _matches,
}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- calls ----------------------------------------------------------------------------------------


def refusal(call: Call, caller: Caller) -> Response | None:
    """Return the denial of a call; None if it is allowed."""
    for action, resource in needs(call):
        reads_secret = action == "secretsmanager:GetSecretValue"
        context = {_TAG_KEY: _cluster_of(call, resource)} if reads_secret else {}
        decision = decide(caller.policies, action, resource, context)
        if decision is not Decision.ALLOWED:
            return denial(call, caller, action, resource, decision)
    for action, key in _key_needs(call):
        if decide(caller.policies, action, key, _key_context(call, key)) is not Decision.ALLOWED:
            code = "KMSAccessDenied" if call.service == "sns" else "KMSKeyNotAccessibleFault"
            return call.error(
                code, f"{caller.arn} is not authorized to perform {action} on {key}", 400
            )
    return None


def denial(call: Call, caller: Caller, action: str, resource: str, decision: Decision) -> Response:
    """Return access denied, as the call's service words it."""
    message = (
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
        f"{decision.value.format(action=action)}"
    )
    if call.service == "sns":
        return call.error("AuthorizationError", message, 403)
    if call.protocol == "query":
        return call.error("AccessDenied", message, 403)
    return call.error("AccessDeniedException", message, 400 if call.protocol == "json" else 403)


def needs(call: Call) -> list[Need]:
    """Return the actions and resources of a call; ``*`` where its resources are not known."""
    operation = f"{call.service}:{call.operation}"
    if operation == "sts:GetCallerIdentity":  # which needs no permissions
        return []
    action = _ACTIONS.get(operation, operation)
    resources = list(_resources(call)) or ["*"]
    needed = [(action, resource) for resource in resources]
    if call.operation in _TAGGING and call.parameters.get("Tags"):
        needed.append(("rds:AddTagsToResource", resources[-1]))
    if call.service == "rds-data" and "secretArn" in call.parameters:
        # "Controlling access to the RDS Data API", Aurora User Guide: the caller reads the secret.
        needed.append(("secretsmanager:GetSecretValue", call.parameters["secretArn"]))
    return needed


# The parameters that name a call's resources, and the resource in the ARN of what they name. Sources come
# before what is made of them. CloudFormation decides on a stack that is called by its name with any id.
_RESOURCES = {
    "cloudformation": {"StackName": "stack/{}/*"},
    "codebuild": {"projectName": "project/{}", "ids": "project/{}"},
    "codepipeline": {"name": "{}", "pipelineName": "{}"},
    "kms": {"KeyId": "key/{}"},
    "lambda": {"FunctionName": "function:{}"},
    "rds": {
        "SourceDBClusterSnapshotIdentifier": "cluster-snapshot:{}",
        "DBClusterIdentifier": "cluster:{}",
        "DBClusterSnapshotIdentifier": "cluster-snapshot:{}",
        "TargetDBClusterSnapshotIdentifier": "cluster-snapshot:{}",
        "ResourceName": "{}",
    },
    "rds-data": {"resourceArn": "{}"},
    "secretsmanager": {"SecretId": "secret:{}"},
    "sns": {"TopicArn": "{}"},
    "ssm": {"Name": "parameter/{}", "Names": "parameter/{}"},
    "states": {"executionArn": "{}", "stateMachineArn": "{}"},
}


def _resources(call: Call) -> Iterator[str]:
    given = call.parameters
    if call.service == "s3":
        yield "arn:aws:s3:::" + "/".join(filter(None, [given.get("Bucket"), given.get("Key")]))
    elif call.operation == "DescribeDBClusterSnapshots":
        yield "*"
    elif call.operation == "DescribeDBClusters":
        yield _arn(call, f"cluster:{given.get('DBClusterIdentifier', '*').lower()}")
    else:
        for parameter, form in _RESOURCES.get(call.service, {}).items():
            for name in _listed(given.get(parameter) or []):
                yield name if name.startswith("arn:") else _arn(call, form.format(_id(call, name)))


def _id(call: Call, name: str) -> str:
    """Return the name as it stands in an ARN."""
    if call.service == "rds":
        return name.lower()
    if call.service == "kms":
        # "Use aliases to control access to KMS keys", KMS Developer Guide: the resource is the key.
        return kms_backends[call.account][call.region].get_key_id_from_alias(name) or name
    # A parameter's label and a build's number are no part of it.
    return name.partition(":")[0].lstrip("/")


def _arn(call: Call, resource: str) -> str:
    return f"arn:aws:{call.service}:{call.region}:{call.account}:{resource}"


def _cluster_of(call: Call, secret: str) -> list[str]:
    """Return the cluster whose password is in the secret."""
    secrets: Any = secretsmanager_backends[call.account][call.region].secrets
    tags = secrets[secret].tags or [] if secret in secrets else []
    return [tag["Value"] for tag in tags if tag["Key"] == _CLUSTER_TAG]


# --- keys that a service uses with the caller's rights; their policies are taken to leave it to IAM ---


def _key_needs(call: Call) -> Iterator[Need]:
    operation = f"{call.service}:{call.operation}"
    if operation == "sns:Publish":
        # "Key management", SNS Developer Guide.
        _, _, _, region, account, _ = call.parameters["TopicArn"].split(":")
        topic = sns_backends[account][region].topics.get(call.parameters["TopicArn"])
        name = topic.kms_master_key_id if topic else ""
        if name and not name.endswith("alias/aws/sns"):
            key = kms_backends[account][region].describe_key(name).arn
            yield from (("kms:GenerateDataKey", key), ("kms:Decrypt", key))
    elif call.service == "rds" and "KmsKeyId" in call.parameters:
        yield from _snapshot_key_needs(call)


def _snapshot_key_needs(call: Call) -> Iterator[Need]:
    """Yield the rights on the keys of a snapshot and its copy.

    "Authorizing use of a customer managed key", Aurora User Guide: CreateGrant and DescribeKey on each; what
    else RDS does, it does by the grant. For another account's share the caller decrypts and re-encrypts,
    too, as the policy of "Copying an encrypted DB cluster snapshot to another account" has it; which key
    needs what is "ReEncrypt" of the KMS API reference.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_CopyDBClusterSnapshot.CrossAccount.html
    """
    backend: Any = rds_backends[call.account][call.region]
    source = call.parameters.get("SourceDBClusterSnapshotIdentifier")
    try:
        copy_key = backend.key_arn(call.parameters["KmsKeyId"])
        source_key = backend.source_key(source) if source else None
    except ServiceException:
        return  # RDS refuses a key that is not there.
    reading, writing = ["CreateGrant", "DescribeKey"], ["CreateGrant", "DescribeKey"]
    if source_key and f":{call.account}:" not in source_key:
        reading += ["Decrypt", "ReEncryptFrom"]
        writing += ["GenerateDataKeyWithoutPlaintext", "ReEncryptTo"]
    for key, actions in ((copy_key, writing), (source_key, reading)):
        # Everybody in an account may use its default key through RDS.
        if key and not keys.is_default(key):
            yield from ((f"kms:{action}", key) for action in actions)


def _key_context(call: Call, key: str) -> Context:
    _, _, _, region, account, name = key.split(":")
    aliases = kms_backends[account][region].list_aliases(name.removeprefix("key/"))
    return {
        "kms:viaservice": [f"{call.service}.{region}.amazonaws.com"],
        "kms:resourcealiases": [alias.alias_name for alias in aliases],
    }
