"""`make package STAGE=acceptance`: write the stage as three CloudFormation templates.

It calls no AWS. Deploy them in this order: before.json, sam.json with deployment.zip, after.json.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stage import stacks, stages
from stage.account import chalice, runtime
from stage.cloudformation import deletions
from stage.configure import from_make
from stage.deploy import deployable
from stage.stages import StageError

_NEXT = """\
next, with a bucket of your own:
  aws cloudformation deploy --stack-name {before} --template-file {out}/before.json
  aws cloudformation package --template-file {out}/sam.json --s3-bucket BUCKET \\
    --output-template-file {out}/packaged.yaml
  aws cloudformation deploy --stack-name {functions} --template-file {out}/packaged.yaml \\
    --capabilities CAPABILITY_IAM
  aws cloudformation deploy --stack-name {after} --template-file {out}/after.json
{parameters}Remove from before.json what the account already has: a stack cannot take it over, and would fail.
To delete the stage, but for parameters, topic and logs:
{deletions}
"""


_PARAMETERS = """\
Give the first command, the first time: --parameter-overrides {}
Without them, later ones keep these values, and overwrite nothing that has changed since.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the templates; return the exit status."""
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
        _refuse_answers(from_make(os.environ))
        parameters = package(given.project, given.stage, out)
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    before, functions, after = stacks.packaged_stacks(given.stage).values()
    sys.stdout.write(
        _NEXT.format(
            out=out,
            before=before,
            functions=functions,
            after=after,
            parameters=_PARAMETERS.format(" ".join(f"{each}=…" for each in parameters))
            if parameters
            else "",
            deletions="\n".join(deletions(given.stage)),
        )
    )
    return 0


def package(project: Path, name: str, out: Path) -> list[str]:
    """Write the templates to the folder; return the parameters of the first; raise StageError."""
    stage = deployable(project, name)
    _print(runtime())
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names.json"
        names.write_text(json.dumps(stacks.names_of_packaged(stage)))
        target = str(out.resolve())
        merged = ("--pkg-format", "cloudformation", "--merge-template", str(names))
        chalice(project, stage, "package", _print, *merged, target)
    before = stacks.packaged_before(stage)
    for which, template in (("before", before), ("after", stacks.after(stage))):
        (out / f"{which}.json").write_text(stages.to_text(template), encoding="utf-8")
    return list(before["Parameters"])


def _refuse_answers(answers: Mapping[str, str]) -> None:
    """Raise StageError for an answer: first values and the address are parameters of the stack."""
    # Credentials may be named on make's command line.
    if unknown := [name for name in answers if not name.startswith("AWS_")]:
        raise StageError(
            f"{', '.join(unknown)}: make package takes no answers; the first values of *current* and an "
            "e-mail address are parameters of before.json"
        )


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
