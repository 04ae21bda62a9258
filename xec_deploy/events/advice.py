"""What makes a file slow to read, and the cure."""

from __future__ import annotations

from typing import Final

from xec_deploy.events.failures import is_url
from xec_deploy.events.reader import EventFile

__all__ = ["reading_advice"]

SMALL: Final = 4
"""Events of a basket below which handling baskets costs as much as decompressing them."""


def reading_advice(events: EventFile) -> str | None:
    """Return one line on what limits reading a file; None if nothing about the file does."""
    reasons = []
    if events.codec == "LZMA":
        reasons.append("LZMA decompresses some 25 times slower than ZSTD, 60 times than LZ4")
    per_basket = events.num_entries / max(events.units, 1)
    # Baskets of arrays of one size cost hardly more when they are small, see `baskets`.
    plain = events.form.endswith("]") and not is_url(events.path)
    if events.form.startswith("TTree") and events.units > 1 and per_basket < SMALL and not plain:
        number = "one event" if per_basket < 1.5 else f"{per_basket:.0f} events"
        reasons.append(f"every basket holds only {number}")
    if not reasons:
        return None
    return f"{events.path}: {' and '.join(reasons)}; xec-deploy repack F.root -o G.root cures it"
