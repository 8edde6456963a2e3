"""Seven cards of a family: rendered and linted, beside the template that comes with huggingface_hub."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from hala_release.card import lint
from hala_release.card.lint import Page
from hala_release.release import load
from hala_release.wanted import wanted
from tests.cards import made


def main() -> None:
    """Print seconds, each the best of five."""
    with tempfile.TemporaryDirectory() as scratch:
        release = load(made.hala(Path(scratch)))

        def ours() -> None:
            for want in wanted(release, Path(scratch)):
                lint.lint(Page(want.card, want.kind, want.repo, files=want.paths))

        def charts() -> None:
            for want in wanted(release, Path(scratch)):
                len(want.rendered)

        def peer() -> None:
            for number in range(7):
                ModelCard.from_template(ModelCardData(license="mit"), model_id=f"hala/{number}")

        count = len(wanted(release, Path(scratch)))
        mine, theirs = _best(ours), _best(peer)
        print(f"{count} cards, opened, rendered and linted   {mine:.3f} s")
        print(f"7 empty cards of huggingface_hub          {theirs:.3f} s   ratio {mine / theirs:.1f}")
        print(f"the same {count} with their charts             {_best(charts):.3f} s")


def _best(action: Callable[[], None]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
