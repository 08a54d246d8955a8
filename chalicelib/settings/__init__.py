"""A stage's environment variables as one validated, frozen object."""

from collections.abc import Mapping

from chalicelib.domain.errors import SettingsError
from chalicelib.settings.acceptance import Settings
from chalicelib.settings.production import ProductionSettings

_ACCEPTANCE, _PRODUCTION = "SOURCE_ACCOUNT", "SHARE_WITH_ACCOUNT"


def load(environment: Mapping[str, str]) -> Settings | ProductionSettings:
    """Return the stage's settings; raise SettingsError, naming every problem.

    A stage with SOURCE_ACCOUNT is an acceptance stage, one with SHARE_WITH_ACCOUNT a production
    stage.
    """
    is_acceptance, is_production = (bool(environment.get(n)) for n in (_ACCEPTANCE, _PRODUCTION))
    if is_acceptance == is_production:
        found = "both are set" if is_acceptance else "neither is set"
        problem = (
            f"{_ACCEPTANCE}, {_PRODUCTION}: {found}; set {_ACCEPTANCE} in an acceptance stage, "
            f"{_PRODUCTION} in a production stage"
        )
        raise SettingsError([problem])
    if is_acceptance:
        return Settings.from_environment(environment)
    return ProductionSettings.from_environment(environment)
