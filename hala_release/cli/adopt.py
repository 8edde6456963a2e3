"""hala-release adopt"""

from __future__ import annotations

from pathlib import Path

import click

from hala_release.cli.output import Output, facts_words, output_options
from hala_release.units import count, human_bytes


@click.command()
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["dataset", "model", "space"]), required=True, help="What DIR holds.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle to make.")
@click.option(
    "--sort-by", metavar="COLUMN", help="Order JSON lines by this column. Default: `id`, where all rows have it."
)
@output_options
def command(source: Path, kind: str, out: Path, sort_by: str | None, as_json: bool, quiet: bool) -> None:
    """Seal what another tool made.

    DIR is copied into a bundle that can be published. JSON lines become sorted Parquet shards; everything else is
    copied byte for byte. DIR may also be one data file.
    """
    from hala_release.adopt import adopt

    output = Output(as_json=as_json, quiet=quiet)
    output.talk(f"reading {source}")
    adopted = adopt(source, kind=kind, out=out, sort_by=sort_by, talk=output.talk)  # type: ignore[arg-type]  # click checks the choice
    bundle = adopted.bundle
    for path in adopted.left_out:
        output.talk(f"left out {path}: " + ("the card is rendered" if path.lower() == "readme.md" else "hidden"))
    manifest = bundle.manifest
    output.show(
        {"bundle": str(bundle.root), "manifest": manifest.model_dump(mode="json"), "left_out": adopted.left_out},
        [
            f"sealed {bundle.root}: {facts_words(manifest.facts)}, "
            f"{count(len(manifest.files), 'file')}, {human_bytes(bundle.size)}"
        ],
    )
