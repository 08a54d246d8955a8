"""``make package STAGE=acceptance``: the stage as three CloudFormation templates, for those who allow nothing else.

Nothing is asked of AWS. They are deployed in this order: before.json, sam.json with deployment.zip, after.json.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stage import config, stacks
from stage.account import chalice
from stage.config import StageError
from stage.policies import APP

_NEXT = """\
next, with a bucket of your own:
  aws cloudformation deploy --stack-name {before} --template-file {out}/before.json
  aws cloudformation package --template-file {out}/sam.json --s3-bucket BUCKET \\
    --output-template-file {out}/packaged.yaml
  aws cloudformation deploy --stack-name {app}-{stage} --template-file {out}/packaged.yaml \\
    --capabilities CAPABILITY_IAM
  aws cloudformation deploy --stack-name {after} --template-file {out}/after.json
Leave out of before.json what the account has already: a stack takes over nothing.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the templates; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stage.package",
        description="Write a stage as CloudFormation templates, and its functions' package.",
    )
    parser.add_argument("--stage", required=True, help="the stage's name, such as acceptance")
    parser.add_argument(
        "--out", type=Path, help="the folder for them; default: .chalice/deployments/STAGE"
    )
    parser.add_argument(
        "--project", type=Path, default=Path(), help="the folder that holds app.py; default: this"
    )
    given = parser.parse_args(arguments)
    out = given.out or given.project / ".chalice/deployments" / given.stage
    try:
        package(given.project, given.stage, out)
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    names = {which: stacks.stack_name(given.stage, which) for which in ("before", "after")}
    sys.stdout.write(_NEXT.format(app=APP, stage=given.stage, out=out, **names))
    return 0


def package(project: Path, name: str, out: Path) -> None:
    """Write the templates to the folder; raises StageError."""
    config.check_name(name)
    stage = config.load(project, name)
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names.json"
        names.write_text(json.dumps(stacks.names_of_packaged(stage)))
        target = str(out.resolve())
        merged = ("--pkg-format", "cloudformation", "--merge-template", str(names))
        chalice(project, stage, "package", _print, *merged, target)
    first = {"before": stacks.before(stage, None, (), {}, None), "after": stacks.after(stage)}
    for which, template in first.items():
        (out / f"{which}.json").write_text(config.written(template), encoding="utf-8")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
