"""Find the stack in which the main pipeline deploys a database."""

from collections.abc import Callable, Sequence

from botocore.exceptions import BotoCoreError

from chalicelib.domain.errors import AwsError
from cli.look import AcceptanceLook
from cli.stages import AcceptanceStage

Note = Callable[[str], None]


def find_stack_names(note: Note, stage: AcceptanceStage, names: Sequence[str]) -> dict[str, str]:
    """Return the values of the named settings P_STACK_NAME, as far as they can be found.

    `note` gets a sentence for each value, and for each that was not found.
    """
    found = {}
    places, why = _places(stage)
    for database in stage.settings.databases:
        name, current = database.setting("STACK_NAME"), database.current_parameter
        if name not in names:
            continue
        of_database = places.get(current, [])
        if len(of_database) == 1:
            found[name] = of_database[0]
            note(f"{name} is {found[name]}, which the main pipeline deploys from {current}")
            continue
        missing = why or f"no stack of {stage.pipeline} restores a cluster from {current}"
        if of_database:
            missing = f"several clusters read {current}: {', '.join(of_database)}"
        note(
            f"{name} is not set ({missing.rstrip('.')}). Without it, the refresh relies on the newest "
            "deploy action alone, and does not look at the cluster"
        )
    return found


def _places(stage: AcceptanceStage) -> tuple[dict[str, list[str]], str]:
    """Return STACK or STACK/LOGICAL-ID of the clusters restored from each *current*, or why they are unknown."""
    try:
        look = AcceptanceLook(stage)
        if (account := look.caller()["Account"]) != stage.account:
            return {}, f"the credentials in use belong to account {account}, not to {stage.account}"
        if look.pipeline(stage.pipeline) is None:
            return {}, f"there is no pipeline {stage.pipeline}"
        databases = stage.settings.databases
        return {each.current_parameter: look.places(each) for each in databases}, ""
    except (BotoCoreError, AwsError) as error:
        return {}, str(error)
