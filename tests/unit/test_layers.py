"""Imports point one way: triggers, use cases, domain. `aws` implements the ports."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SDK = {"boto3", "botocore"}
PORTS = {"chalicelib.domain", "chalicelib.notifications"}
USED_BY_AWS = PORTS | {"chalicelib.observability", "chalicelib.ports"}
# What the modules of each package may import, as prefixes of module names, of what is guarded.
ALLOWED = {
    "app": {"chalicelib"},
    "chalicelib": set[str](),
    "chalicelib.domain": {"chalicelib.domain"},
    "chalicelib.settings": {"chalicelib.domain", "chalicelib.settings"},
    "chalicelib.notifications": {"chalicelib.domain"},
    "chalicelib.ports": PORTS,
    "chalicelib.aws": USED_BY_AWS | SDK | {"chalicelib.aws"},
    "chalicelib.usecases": PORTS
    | {"chalicelib.usecases", "chalicelib.settings", "chalicelib.ports"},
    "chalicelib.triggers": {"chalicelib"},
    "chalicelib.triggers.context": {"chalicelib", "boto3"},
    "localcloud": SDK | {"localcloud"},
}
# html takes long to import, at every cold start.
GUARDED = SDK | {"app", "bench", "chalicelib", "cli", "demo", "html", "localcloud", "tests"}


def imported(source: str) -> Iterator[str]:
    """Yield the modules, or their names, that a source text imports anywhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(module: str, packages: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def violations(sources: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return each import that points the wrong way; `sources` are texts by module."""
    found = [(module, name) for module, text in sources.items() for name in imported(text)]
    return [each for each in found if not is_allowed(*each)]


def is_allowed(module: str, name: str) -> bool:
    package = max((each for each in ALLOWED if is_within(module, [each])), key=len)
    return not is_within(name, GUARDED) or is_within(name, ALLOWED[package])


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_import_of_the_application_and_of_the_local_cloud_points_the_right_way() -> None:
    files = [ROOT / "app.py"]
    files += [
        file for name in ("chalicelib", "localcloud") for file in ROOT.glob(f"{name}/**/*.py")
    ]
    sources = {module_of(file): file.read_text() for file in files}
    assert len(sources) > 60
    assert violations(sources) == []


def test_an_import_that_points_the_wrong_way_is_found() -> None:
    wrong = {
        "chalicelib.domain.ledger": "from chalicelib import notifications",
        "chalicelib.usecases.promote": "from chalicelib.aws import ssm",
        "chalicelib.usecases.pin": "def f():\n    import boto3",
        "chalicelib.aws.ssm": "from chalicelib.usecases.current import put",
        "chalicelib.triggers.api": "import html",
        "localcloud.server": "from tests import fakes",
        "app": "import demo",
    }
    assert [module for module, _ in violations(wrong)] == list(wrong)
