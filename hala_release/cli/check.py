"""hala-release check"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hala_release.cli.options import release_argument
from hala_release.cli.output import Output, finding_lines, output_options
from hala_release.units import count


@click.command()
@release_argument
@click.option("--rehash", is_flag=True, help="Read every file again, also those that did not change.")
@output_options
def command(release: Path, rehash: bool, as_json: bool, quiet: bool) -> None:
    """Say what readers would trip over.

    Everything is seen on this machine, without the Hub.
    """
    from hala_release import checks
    from hala_release.errors import CheckFailed
    from hala_release.release import load

    output = Output(as_json=as_json, quiet=quiet)
    loaded = load(release)
    findings = checks.run(loaded, release.parent, rehash=rehash)
    if stopping := checks.stopping(findings, loaded.gates):
        raise CheckFailed(
            f"{count(len(stopping), 'finding')} would stop a push", findings=findings, fix="mend them one by one"
        )
    output.show(
        {"findings": [asdict(finding) for finding in findings]},
        [*finding_lines(findings), f"{release}: nothing stops a push"],
    )
