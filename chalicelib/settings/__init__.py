"""A stage's environment variables as one validated, frozen object."""

from collections.abc import Mapping

from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.settings import acceptance, production
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings
from chalicelib.settings.variables import probable_typos

ACCEPTANCE, PRODUCTION = "SOURCE_ACCOUNT", "SHARE_WITH_ACCOUNT"


def load(environment: Mapping[str, str]) -> Settings | ProductionSettings:
    """Return the stage's settings; raise SettingsError, naming every problem.

    A stage with SOURCE_ACCOUNT is an acceptance stage, one with SHARE_WITH_ACCOUNT a production
    stage.
    """
    is_acceptance, is_production = (bool(environment.get(n)) for n in (ACCEPTANCE, PRODUCTION))
    if is_acceptance == is_production:
        found = "are both set" if is_acceptance else "are both missing"
        detail = (
            f"{found}: set {ACCEPTANCE} in an acceptance stage, {PRODUCTION} in a production stage"
        )
        names = (ACCEPTANCE, PRODUCTION)
        typos = probable_typos(environment, (*names, "SOURCE_REGION"))
        raise SettingsError([Problem(names, detail), *typos])
    if is_acceptance:
        return Settings.from_environment(environment)
    return ProductionSettings.from_environment(environment)


def names_of(environment: Mapping[str, str]) -> list[str]:
    """Return the names of all settings that a stage of this kind has; raise SettingsError."""
    if environment.get(PRODUCTION):
        return list(production.NAMES)
    return acceptance.names_of(environment)
