"""Find the stack in which the main pipeline deploys a database."""

from collections.abc import Callable

from chalicelib.domain.database import Database
from chalicelib.domain.errors import AwsError
from cli.look import AcceptanceLook
from cli.output import Failure
from cli.stages import AcceptanceStage

Note = Callable[[str], None]


def find_stack_names(note: Note, stage: AcceptanceStage) -> dict[str, str]:
    """Return the values of those settings P_STACK_NAME that nobody has given, as far as they can be found.

    `note` gets a sentence for each value, and for each that was not found.
    """
    found, look = {}, AcceptanceLook(stage)
    for database in stage.settings.databases:
        name = database.setting("STACK_NAME")
        if name in stage.variables:
            continue
        try:
            found[name] = _place(look, database)
        except (AwsError, Failure) as error:
            note(
                f"{name} is not set ({str(error).rstrip('.')}). Without it, the refresh relies on the newest "
                "deploy action alone, and does not look at the cluster"
            )
        else:
            note(
                f"{name} is {found[name]}, which the main pipeline deploys from {database.current_parameter}"
            )
    return found


def _place(look: AcceptanceLook, database: Database) -> str:
    """Return STACK or STACK/LOGICAL-ID of the cluster restored from *current*; raise Failure, or AwsError."""
    current, pipeline = database.current_parameter, look.stage.pipeline
    look.check_caller()
    if look.pipeline(pipeline) is None:
        raise Failure(f"there is no pipeline {pipeline}")
    places = look.places(database)
    if not places:
        raise Failure(f"no stack of {pipeline} restores a cluster from {current}")
    if len(places) > 1:
        raise Failure(f"several clusters read {current}: {', '.join(places)}")
    return places[0]
