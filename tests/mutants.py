"""Plant random faults in app.py and chalicelib, and report which of them the tests do not find.

`make mutants N=300 SEED=1` draws the faults and runs for each one the tests that execute its lines, in a
copy of the tree. A run of all tests under coverage says which those are.
"""

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import coverage
import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = (
    *("tests/unit", "tests/usecases", "tests/cli", "tests/test_app.py", "tests/test_openapi.py"),
    "tests/simulation/test_it_bites.py::test_without_its_fault_a_history_breaks_no_guarantee",
    "tests/contract",
)
TIMEOUT = 300  # seconds; a mutant that hangs is found
# Hypothesis draws the same examples each time.
PYTEST = ("pytest", "-qx", "-p", "tests.mutants", "-p", "no:cacheprovider", "--hypothesis-seed=0")
SWAPS = "Lt-LtE Gt-GtE Eq-NotEq In-NotIn Is-IsNot And-Or Add-Sub Mult-FloorDiv"
PAIRS = [[getattr(ast, name) for name in pair.split("-")] for pair in SWAPS.split()]
SWAPPED = dict(PAIRS) | {new: old for old, new in PAIRS}


class Mutant(NamedTuple):
    path: str
    lines: range
    change: str
    text: str  # of the whole file


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in the place of a node."""
    match node:
        case ast.Compare(ops=[first, *others]) if type(first) in SWAPPED:
            yield ast.Compare(node.left, [SWAPPED[type(first)](), *others], node.comparators)
        case ast.BoolOp() | ast.BinOp() if type(node.op) in SWAPPED:
            yield type(node)(**vars(node) | {"op": SWAPPED[type(node.op)]()})
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=int() as value):
            yield ast.Constant(not value if isinstance(value, bool) else value + 1)
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return()
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.If() | ast.IfExp():
            yield type(node)(**vars(node) | {"test": ast.UnaryOp(ast.Not(), node.test)})


def mutants() -> Iterator[Mutant]:
    for file in [ROOT / "app.py", *sorted(ROOT.glob("chalicelib/**/*.py"))]:
        path, tree = str(file.relative_to(ROOT)), ast.parse(file.read_text())
        for node in list(ast.walk(tree)):
            for change in changes(node):
                texts = [ast.unparse(each).partition("\n")[0][:60] for each in (node, change)]
                lines = range(node.lineno, node.end_lineno + 1)
                kept = node.__class__, node.__dict__
                node.__class__, node.__dict__ = change.__class__, change.__dict__
                yield Mutant(path, lines, " -> ".join(texts), ast.unparse(tree))
                node.__class__, node.__dict__ = kept


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the quick tests come first: tests/conftest.py begins with what takes long."""
    items.reverse()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let coverage note which test executes a line, with its fixtures and whatever its arguments."""
    if tracer := coverage.Coverage.current():
        tracer.switch_context(item.nodeid.partition("[")[0])
    return (yield)


def run(tree: Path, *command: str, timeout: int | None = None) -> bool:
    """Return whether a module of Python succeeds in the tree, within its seconds."""
    paths = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    options = {"cwd": tree, "env": os.environ | paths, "timeout": timeout}
    with (tree / "log").open("w") as log, suppress(subprocess.SubprocessError):
        python = [sys.executable, "-m", *command]
        return not subprocess.run(python, check=True, stdout=log, stderr=log, **options).returncode
    return False


def executed_by(tree: Path) -> dict[str, dict[int, list[str]]]:
    """Return the tests that execute each line of each file."""
    (tree / "empty").touch()
    options = ("--rcfile=empty", "--data-file=executed", "--source=app,chalicelib")
    if not run(tree, "coverage", "run", *options, "-m", *PYTEST, *TESTS):
        sys.exit(f"without any mutant:\n{(tree / 'log').read_text()}")
    data = coverage.CoverageData(str(tree / "executed"))
    data.read()
    paths = {file: str(Path(file).relative_to(tree)) for file in data.measured_files()}
    return {path: data.contexts_by_lineno(file) for file, path in paths.items()}


def tests_of(mutant: Mutant, executed: dict[str, dict[int, list[str]]]) -> set[str]:
    """Return the tests that execute the lines, or anything in the file if an import executes them."""
    lines = executed.get(mutant.path, {})
    found = {each for line in mutant.lines for each in lines.get(line, [])} - {""}
    return found or {each for line in lines.values() for each in line} - {""}


def main() -> None:
    number, seed = int(os.environ.get("N", "300")), int(os.environ.get("SEED", "1"))
    drawn = random.Random(seed).sample(list(mutants()), number)  # noqa: S311
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*cache", ".git", ".venv"))
        (tree / ".venv").symlink_to(ROOT / ".venv")
        executed = executed_by(tree)
        for mutant in drawn:
            tests = tests_of(mutant, executed)
            (tree / mutant.path).write_text(mutant.text)
            survives = not tests or run(tree, *PYTEST, *sorted(tests), timeout=TIMEOUT)
            shutil.copy(ROOT / mutant.path, tree / mutant.path)
            survivors += survives
            verdict = "SURVIVED" if survives else "killed  "
            print(f"{verdict}  {mutant.path}:{mutant.lines[0]}  {mutant.change}", flush=True)
    print(f"{number - survivors} of {number} killed, {survivors} survived")


if __name__ == "__main__":
    main()
