"""IAM: decide for each request, action and resource whether the caller is allowed.

The caller's policies (``policies.py``) are evaluated for the actions and resources of the Service Authorization
Reference that this project's policies name. The error messages are those of *Troubleshoot access denied error
messages* (IAM User Guide).
"""

from collections.abc import Iterator
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.utils import get_service_model
from moto.kms.models import kms_backends
from moto.rds.models import rds_backends
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends

from localcloud import keys
from localcloud.identities import Caller, Refused
from localcloud.policies import CLUSTER_TAG, OWNER_KEY, TAG_KEY, Context, Decision, decide, listed
from localcloud.wire import Call

Need = tuple[str, str]

# Operations whose IAM action has another name.
_ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction", "s3:ListObjectsV2": "s3:ListBucket"}
# "Granting permission to tag resources during creation", Aurora User Guide; *CreateTopic*, SNS API reference.
_TAGGING = {
    "CopyDBClusterSnapshot": "rds:AddTagsToResource",
    "CreateDBClusterSnapshot": "rds:AddTagsToResource",
    "CreateTopic": "sns:TagResource",
}


def authorize(call: Call, caller: Caller) -> None:
    """Raise Refused unless the caller may make the call."""
    for action, resource in needs(call):
        bucket = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        owner = [*s3_backends.bucket_accounts.get(bucket, ())][1:]
        context = {TAG_KEY: _cluster_of(call, resource), OWNER_KEY: owner}
        decision = decide(caller.policies, action, resource, context)
        if decision is not Decision.ALLOWED:
            raise denial(call, caller, action, resource, decision)
    for action, key in _key_needs(call):
        if decide(caller.policies, action, key, _key_context(call, key)) is not Decision.ALLOWED:
            code = "KMSAccessDenied" if call.service == "sns" else "KMSKeyNotAccessibleFault"
            raise Refused(code, f"{caller.arn} is not authorized to perform {action} on {key}", 400)


def denial(call: Call, caller: Caller, action: str, resource: str, decision: Decision) -> Refused:
    """Return the access-denied error of the call's service."""
    message = (
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
        f"{decision.value.format(action=action)}"
    )
    code = "AccessDenied" if call.protocol == "query" else "AccessDeniedException"
    if call.service == "sns":
        code = "AuthorizationError"
    return Refused(code, message, 400 if call.protocol == "json" else 403)


def needs(call: Call) -> list[Need]:
    """Return the actions and resources of a call; ``*`` if its resources are not known."""
    operation = f"{call.service}:{call.operation}"
    if operation == "sts:GetCallerIdentity":  # which needs no permissions
        return []
    action = _ACTIONS.get(operation, operation)
    if call.service == "apigateway":  # whose actions are the methods of HTTP
        model = get_service_model(call.service).operation_model(call.operation)
        action = f"apigateway:{model.http['method']}"
    resources = list(_resources(call)) or ["*"]
    needed = [(action, resource) for resource in resources]
    if call.operation in _TAGGING and call.parameters.get("Tags"):
        needed.append((_TAGGING[call.operation], resources[-1]))
    if call.service == "rds-data" and "secretArn" in call.parameters:
        # "Controlling access to the RDS Data API", Aurora User Guide: the caller reads the secret.
        needed.append(("secretsmanager:GetSecretValue", call.parameters["secretArn"]))
    return needed


# The parameters that name a call's resources, with the resource part of the ARN. Sources come before what is
# made from them. For a stack that is given by its name, CloudFormation authorizes any id.
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
    else:
        for parameter, form in _RESOURCES.get(call.service, {}).items():
            for name in listed(given.get(parameter) or []):
                yield name if name.startswith("arn:") else _arn(call, form.format(_id(call, name)))


def _id(call: Call, name: str) -> str:
    """Return the name as an ARN contains it."""
    if call.service == "rds":
        return name.lower()
    if call.service == "kms":
        # "Use aliases to control access to KMS keys", KMS Developer Guide: the resource is the key.
        return kms_backends[call.account][call.region].get_key_id_from_alias(name) or name
    # A parameter's label and a build's number are not part of it.
    return name.partition(":")[0].lstrip("/")


def _arn(call: Call, resource: str) -> str:
    return f"arn:aws:{call.service}:{call.region}:{call.account}:{resource}"


def _cluster_of(call: Call, secret: str) -> list[str]:
    """Return the cluster whose password the secret holds."""
    secrets: Any = secretsmanager_backends[call.account][call.region].secrets
    tags = secrets[secret].tags or [] if secret in secrets else []
    return [tag["Value"] for tag in tags if tag["Key"] == CLUSTER_TAG]


# --- keys that a service uses with the caller's rights; their policies are assumed to delegate to IAM ---


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
    """Yield the permissions that the keys of a snapshot and its copy require.

    "Authorizing use of a customer managed key", Aurora User Guide: CreateGrant and DescribeKey on each key; RDS
    does everything else through the grant. For another account's share the caller also decrypts and
    re-encrypts, as in the policy of "Copying an encrypted DB cluster snapshot to another account". "ReEncrypt" in
    the KMS API reference says which key requires what.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_CopyDBClusterSnapshot.CrossAccount.html
    """
    backend: Any = rds_backends[call.account][call.region]
    source = call.parameters.get("SourceDBClusterSnapshotIdentifier")
    try:
        copy_key = backend.key_arn(call.parameters["KmsKeyId"])
        source_key = backend.source_of_copy(source).kms_key_id if source else None
    except ServiceException:
        return  # RDS refuses a key that does not exist
    reading, writing = ["CreateGrant", "DescribeKey"], ["CreateGrant", "DescribeKey"]
    if source_key and f":{call.account}:" not in source_key:
        reading += ["Decrypt", "ReEncryptFrom"]
        writing += ["GenerateDataKeyWithoutPlaintext", "ReEncryptTo"]
    for key, actions in ((copy_key, writing), (source_key, reading)):
        # Anyone in an account may use its default key through RDS.
        if key and not keys.is_default(key):
            yield from ((f"kms:{action}", key) for action in actions)


def _key_context(call: Call, key: str) -> Context:
    _, _, _, region, account, name = key.split(":")
    aliases = kms_backends[account][region].list_aliases(name.removeprefix("key/"))
    return {
        "kms:viaservice": [f"{call.service}.{region}.amazonaws.com"],
        "kms:resourcealiases": [alias.alias_name for alias in aliases],
        # "Set up an SNS topic with server-side encryption", Amazon GameLift Servers.
        "kms:encryptioncontext:aws:sns:topicarn": [call.parameters.get("TopicArn", "")],
    }
