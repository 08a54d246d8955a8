"""Imports point one way: triggers, use cases, domain. `aws` implements the ports."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOYED = sorted([ROOT / "app.py", *(ROOT / "chalicelib").rglob("*.py")])
AWS_SDK = {"boto3", "botocore"}

PORTS = {"chalicelib.domain", "chalicelib.notifications"}
# What the modules of each package may import of this project, as prefixes of module names.
ALLOWED = {
    "chalicelib.domain": {"chalicelib.domain"},
    "chalicelib.settings": {"chalicelib.domain", "chalicelib.settings"},
    "chalicelib.notifications": {"chalicelib.domain"},
    "chalicelib.observability": set[str](),
    "chalicelib.ports": PORTS,
    "chalicelib.aws": PORTS | {"chalicelib.aws", "chalicelib.observability", "chalicelib.ports"},
    "chalicelib.usecases": PORTS
    | {"chalicelib.usecases", "chalicelib.settings", "chalicelib.ports"},
    "chalicelib.triggers": {"chalicelib"},
    "app": {"chalicelib"},
}
# The only modules that know the AWS SDK.
MAY_IMPORT_SDK = ("chalicelib.aws", "chalicelib.triggers.context")
TOOLS = {"bench", "cli", "demo", "localcloud", "tests"}
APPLICATION = TOOLS - {"localcloud"} | {"app", "chalicelib"}
SLOW = {"html"}  # to import, at every cold start


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
    top = name.partition(".")[0]
    if top in AWS_SDK:
        return is_within(module, MAY_IMPORT_SDK)
    if top == "chalicelib":
        package = next(each for each in ALLOWED if is_within(module, [each]))
        return is_within(name, ALLOWED[package])
    return top not in TOOLS | SLOW


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_import_of_the_deployed_code_points_the_right_way() -> None:
    sources = {module_of(file): file.read_text() for file in DEPLOYED}
    assert violations(sources) == []


def test_the_local_cloud_knows_nothing_of_the_application() -> None:
    files = sorted((ROOT / "localcloud").rglob("*.py"))
    names = [name for file in files for name in imported(file.read_text())]
    assert [each for each in names if is_within(each, APPLICATION)] == []


def test_an_import_that_points_the_wrong_way_is_found() -> None:
    wrong = {
        "chalicelib.domain.ledger": "from chalicelib import notifications",
        "chalicelib.usecases.promote": "from chalicelib.aws import ssm",
        "chalicelib.usecases.pin": "def f():\n    import boto3",
        "chalicelib.aws.ssm": "from chalicelib.usecases.current import put",
        "chalicelib.triggers.api": "import html",
        "app": "import demo",
    }
    assert [module for module, _ in violations(wrong)] == list(wrong)
