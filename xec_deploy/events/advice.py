"""What makes a file slow to read, and the cure."""

from __future__ import annotations

from typing import Final

from xec_deploy.events.reader import EventFile

__all__ = ["reading_advice"]

SMALL_BASKET: Final = 4
"""Events of a basket below which handling baskets costs as much as decompressing them."""


def reading_advice(events: EventFile) -> str | None:
    """Return one line on what limits reading a file; None if nothing about the file does."""
    reasons = []
    if events.codec == "LZMA":
        reasons.append("LZMA decompresses some 20 times slower than LZ4 or ZSTD")
    per_basket = events.num_entries / max(events.units, 1)
    if events.form.startswith("TTree") and events.units > 1 and per_basket < SMALL_BASKET:
        number = "one event" if per_basket < 1.5 else f"{per_basket:.0f} events"
        reasons.append(f"every basket holds only {number}")
    if not reasons:
        return None
    return f"{events.path}: {' and '.join(reasons)}; xec-deploy repack F.root -o G.root cures it"
