"""A stage's environment variables as one validated, frozen object."""

from collections.abc import Mapping

from chalicelib.domain.errors import Problem, SettingsError
from chalicelib.settings import acceptance, production
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings

ACCEPTANCE, PRODUCTION = "SOURCE_ACCOUNT", "SHARE_WITH_ACCOUNT"


def load(environment: Mapping[str, str]) -> Settings | ProductionSettings:
    """Return the stage's settings; raise SettingsError, naming every problem.

    A stage with SOURCE_ACCOUNT is an acceptance stage, one with SHARE_WITH_ACCOUNT a production
    stage. One with neither misses the variable of the stage that its other settings belong to.
    """
    is_acceptance, is_production = (bool(environment.get(n)) for n in (ACCEPTANCE, PRODUCTION))
    if is_acceptance and is_production:
        detail = (
            f"are both set: set {ACCEPTANCE} in an acceptance stage, {PRODUCTION} in a production "
            "stage"
        )
        raise SettingsError([Problem((ACCEPTANCE, PRODUCTION), detail)])
    if is_production or (environment.get("CLUSTERS") and not is_acceptance):
        return ProductionSettings.from_environment(environment)
    return Settings.from_environment(environment)


def names_of(environment: Mapping[str, str]) -> list[str]:
    """Return the names of all settings that a stage of this kind has; raise SettingsError."""
    if environment.get(PRODUCTION):
        return list(production.NAMES)
    return acceptance.names_of(environment)
