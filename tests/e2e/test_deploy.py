"""What ``chalice deploy`` packs."""

import zipfile

from demo.acceptance import Company


def test_the_package_holds_what_the_runtime_lacks_and_nothing_else(deployed: Company) -> None:
    (package,) = (deployed.project / ".chalice/deployments").glob("*-python*.zip")
    with zipfile.ZipFile(package) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    own = {top for top in tops if not top.endswith((".dist-info", ".data"))}
    assert own == {"app.py", "chalice", "chalicelib", "tzdata"}
    assert package.stat().st_size <= 1.5 * 1024 * 1024
