"""sacreBLEU: how near translations come to references; the only place that knows how it is called."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

RESAMPLES = 1000
NORMAL = 1.96
"""Standard errors in half of a 95% interval."""


class Quality(NamedTuple):
    """One number on a scale of 100, and how sure it is."""

    metric: str
    value: float
    stderr: float
    signature: str


def quality(hypotheses: Sequence[str], references: Sequence[str]) -> list[Quality]:
    """Return BLEU and chrF++ of translations with one reference each.

    The standard error is half of sacreBLEU's own 95% interval over 1.96. That interval is of 1,000 resamples of the
    sentences with its fixed seed, which its signature names; so the interval that a card prints is sacreBLEU's.
    """
    from sacrebleu.metrics import BLEU, CHRF

    class Counts:
        """Resamples are summed in float32; where only some of them score 0.0, a float, sacreBLEU averages neither."""

        def _compute_score_from_stats(self, stats: Sequence[float]) -> Any:  # noqa: ANN401 -- no types
            return super()._compute_score_from_stats([int(number) for number in stats])  # type: ignore[misc]

    class Bleu(Counts, BLEU):
        """BLEU on counts."""

    class Chrf(Counts, CHRF):
        """chrF on counts."""

    found = []
    for name, metric in (("bleu", Bleu()), ("chrf++", Chrf(word_order=2))):
        score = metric.corpus_score(list(hypotheses), [list(references)], n_bootstrap=RESAMPLES)
        signature = str(metric.get_signature())
        found.append(Quality(name, float(score.score), float(score._ci) / NORMAL, signature))
    return found


def name() -> str:
    """Return the name and version of sacreBLEU."""
    return f"sacreBLEU {version('sacrebleu')}"
