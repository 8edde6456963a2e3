"""Charts as they are published."""

from __future__ import annotations

import io
from typing import Any


def png(figure: Any) -> bytes:  # noqa: ANN401 -- a figure of matplotlib
    """Return a figure as PNG; the same figure gives the same bytes."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
