"""Names: nearest ones, messages for those that are not known, prefixes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from gcseg.utils.signatures import shortened


def nearest(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The ``n`` names of ``known`` that look most like ``name``, best first; upper and lower case count as equal.

    Returns:
        At most ``n`` names; empty when nothing is similar.
    """
    by_folded = {k.lower(): k for k in known}
    return [by_folded[m] for m in difflib.get_close_matches(name.lower(), by_folded, n=n, cutoff=0.55)]


def unknown_name_message(what: str, name: str, known: Iterable[str], remedy: str = "") -> str:
    """One paragraph: what was received, what it might have meant, what is allowed.

    Args:
        what: the kind of thing that is named, such as ``"key of GCHead"``.
        name: the name received.
        known: the names allowed.
        remedy: a last sentence.
    """
    known = sorted(set(known))
    close = nearest(name, known)
    parts = [f"unknown {what} {shortened(name, 200)}."]
    if close:
        parts.append(f"Did you mean {' or '.join(map(repr, close))}?")
    if not close or len(known) <= 12:
        shown = known if len(known) <= 40 else [*known[:40], f"... {len(known) - 40} more"]
        parts.append(f"Known: {', '.join(shown)}.")
    if remedy:
        parts.append(remedy)
    return " ".join(parts)


def add_prefix(inputs: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values under the names ``prefix.name``, as the losses of a head are logged."""
    return {f"{prefix}.{name}": value for name, value in inputs.items()}
