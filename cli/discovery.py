"""Find the stack in which the main pipeline deploys a database, and the keys of the topics."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cli import mainpipeline, templates
from cli.stages import AcceptanceStage, Stage, StageError

_DEPLOYING = {"CREATE_UPDATE", "CHANGE_SET_EXECUTE", "REPLACE_ON_FAILURE"}


def find_stack_names(
    note: Callable[[str], None], stage: AcceptanceStage, names: Sequence[str]
) -> dict[str, str]:
    """Return the values of the named settings P_STACK_NAME, as far as they can be found.

    `note` gets a sentence for each value, and for each that was not found.
    """
    by_parameter: dict[str, list[str]] = {}
    why = ""
    try:
        session = boto3.Session(region_name=stage.region)
        account = session.client("sts").get_caller_identity()["Account"]
        if account == stage.account:
            for parameter, place in _places(session, stage):
                by_parameter.setdefault(parameter, []).append(place)
        else:
            why = f"the credentials in use belong to account {account}, not to {stage.account}"
    except (ClientError, BotoCoreError, StageError) as error:
        why = str(error)
    found = {}
    for database in stage.settings.databases:
        name = f"{database.name.upper()}_STACK_NAME"
        if name not in names:
            continue
        places = by_parameter.get(database.current_parameter, [])
        if len(places) == 1:
            found[name] = places[0]
            note(
                f"{name} is {places[0]}, which the main pipeline deploys from {database.current_parameter}"
            )
            continue
        missing = why or (
            f"several clusters read {database.current_parameter}: {', '.join(places)}"
            if places
            else f"no stack of {stage.pipeline} restores a cluster from {database.current_parameter}"
        )
        note(
            f"{name} is not set ({missing.rstrip('.')}). Without it the refresh goes by the newest deploy "
            "action alone, which is weaker: it does not look at the cluster"
        )
    return found


def find_topic_keys(note: Callable[[str], None], stage: Stage) -> list[str] | None:
    """Return the customer-managed keys of the stage's topics; None if they cannot be looked at.

    `note` gets a sentence about what was found, or why nothing was. A topic that does not exist yet is
    made without a key.
    """
    keys: list[str] = []
    try:
        session = boto3.Session(region_name=stage.region)
        sns, kms = session.client("sns"), session.client("kms")
        for topic in filter(None, (stage.settings.topic_arn, stage.settings.chat_topic_arn)):
            try:
                attributes = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
            except sns.exceptions.NotFoundException:
                continue
            if named := attributes.get("KmsMasterKeyId"):
                key = kms.describe_key(KeyId=named)["KeyMetadata"]
                if key["KeyManager"] == "CUSTOMER" and key["Arn"] not in keys:
                    keys.append(key["Arn"])
                    note(f"{topic} is under the key {key['Arn']}, which the functions may use")
    except (ClientError, BotoCoreError) as error:
        note(f"the keys of the topics stay as they were ({str(error).rstrip('.')})")
        return None
    return keys


def _places(session: boto3.Session, stage: AcceptanceStage) -> Iterator[tuple[str, str]]:
    """Yield each parameter from which a cluster is restored, and the stack, or STACK/LOGICAL-ID."""
    definition: Any = session.client("codepipeline").get_pipeline(name=stage.pipeline)["pipeline"]
    client: Any = session.client("cloudformation")
    stacks = [
        action.stack
        for action in mainpipeline.deploy_actions(definition)
        if action.mode in _DEPLOYING and not action.elsewhere(stage)
    ]
    for stack in dict.fromkeys(stacks):
        try:
            (described,) = client.describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):  # not deployed yet
                continue
            raise
        body: Any = client.get_template(StackName=stack, TemplateStage="Processed")["TemplateBody"]
        yield from mainpipeline.places(stack, templates.parsed(body), mainpipeline.given(described))
