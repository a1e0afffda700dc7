"""Tables of results: on the screen, and between two markers of a page with the samples in a JSON file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_RATE = "FLOP/s"
_HEAD = ("work", "setting", "peer", "gcseg", "times faster", "aim", "memory, peer and gcseg", "difference of results")
_RATE_HEAD = ("work", "GFLOP/s", "against", "GFLOP/s", "share")


def load(file: Path) -> dict[str, Any]:
    """Results by row key; empty when there are none yet."""
    return json.loads(file.read_text())["rows"] if file.is_file() else {}


def save(file: Path, results: Mapping[str, Any]) -> None:
    """Write results, complete or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"rows": results}, indent=1) + "\n")
    part.replace(file)


def update_page(page: Path, results: Mapping[str, Any]) -> None:
    """Replace what stands between the markers of a page.

    Raises:
        ValueError: the page has no such pair of markers.
    """
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} needs the lines {BEGIN} and {END}, in this order, around the figures")
    page.write_text(f"{head}{BEGIN}\n{markdown(results)}{END}{tail}")


def markdown(results: Mapping[str, Any]) -> str:
    """All results as Markdown, one pair of tables per machine."""
    parts = []
    for machine in _machines(results.values()):
        rows = [row for row in results.values() if _machine_key(row) == machine]
        parts.append(f"{_describe(rows)}\n")
        for head, lines in _tables(rows):
            parts.append(_markdown_table(head, lines))
        notes = _notes(rows)
        if notes:
            parts.append("\n".join(f"- {note}" for note in notes) + "\n")
    return "\n".join(parts) or "Nothing has been measured yet.\n"


def plain(results: Mapping[str, Any]) -> str:
    """All results for a terminal, with a column more: processor time, which other processes disturb less."""
    rows = list(results.values())
    parts = [_describe(rows)]
    for head, lines in _tables(rows):
        if head is _HEAD:
            pairs = [(row["contestants"], c) for row in rows if row["unit"] != _RATE for c in row["comparisons"]]
            extra = [_processor_ratio(contestants[c["slow"]], contestants[c["fast"]]) for contestants, c in pairs]
            head, lines = (*head, "by processor time"), [(*line, x) for line, x in zip(lines, extra, strict=True)]
        widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
        parts.append("")
        parts += ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (head, *lines)]
    notes = _notes(rows)
    parts += ["", *notes] if notes else []
    return "\n".join(parts)


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    if value >= 1:
        return f"{value:.{1 if value >= 10 else 2}f} s"
    return f"{value * 1e3:.{0 if value >= 0.1 else 1 if value >= 0.01 else 2}f} ms"


def amount(value: float) -> str:
    """Bytes in the unit that suits them."""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def _tables(rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[Sequence[str], list[tuple[str, ...]]]]:
    """(head, lines) of the comparisons and of the rates, without those that are empty."""
    times, rates = [], []
    for row in rows:
        for comparison in row["comparisons"]:
            if row["unit"] == _RATE:
                rates.append(_rate_line(row, comparison))
            else:
                times.append(_time_line(row, comparison))
    return [(head, lines) for head, lines in ((_HEAD, times), (_RATE_HEAD, rates)) if lines]


def _time_line(row: Mapping[str, Any], comparison: Mapping[str, Any]) -> tuple[str, ...]:
    slow, fast = (row["contestants"][comparison[key]] for key in ("slow", "fast"))
    aims = []
    if comparison["aim"]:
        aims.append(f"{comparison['aim']:g}")
    if comparison["limit"]:
        aims.append(f"under {seconds(comparison['limit'])}")
    if comparison["memory_aim"]:
        aims.append(f"memory {comparison['memory_aim']:.3g}")
    return (
        row["title"],
        comparison["label"],
        _figure(slow, row["unit"]),
        _figure(fast, row["unit"]),
        _ratio(slow, fast),
        ", ".join(aims),
        _memory(slow, fast) if row["show_memory"] else "",
        _agreement(fast),
    )


def _figure(contestant: Mapping[str, Any], unit: str) -> str:
    if not contestant["seconds"]:
        return "not measured"
    middle = median(contestant["seconds"])
    return seconds(middle) if unit == "s" else f"{1 / middle:.3g} {unit}"


def _ratio(slow: Mapping[str, Any], fast: Mapping[str, Any]) -> str:
    """Ratio of the medians, and the range of the ratios of the rounds."""
    if not (slow["seconds"] and fast["seconds"]):
        return ""
    if not fast.get("agreement", {"same": True})["same"]:
        return "results differ"
    ratio = median(slow["seconds"]) / median(fast["seconds"])
    rounds = [a / b for a, b in zip(slow["seconds"], fast["seconds"], strict=False)]
    return f"**{ratio:.2f}** ({min(rounds):.2f} to {max(rounds):.2f})"


def _processor_ratio(slow: Mapping[str, Any], fast: Mapping[str, Any]) -> str:
    if not (slow["cpu_seconds"] and fast["cpu_seconds"]):
        return ""
    used = median(fast["cpu_seconds"])
    return f"{median(slow['cpu_seconds']) / used:.2f}" if used else ""


def _memory(slow: Mapping[str, Any], fast: Mapping[str, Any]) -> str:
    """Peaks of both, and the second over the first."""
    if not all(c["peak_bytes"] and None not in c["peak_bytes"] for c in (slow, fast)):
        return ""
    first, second = median(slow["peak_bytes"]), median(fast["peak_bytes"])
    share = f" ({second / first:.2f})" if first else ""
    return f"{amount(first)}, {amount(second)}{share}"


def _agreement(contestant: Mapping[str, Any]) -> str:
    found = contestant.get("agreement")
    if not found:
        return ""
    return ", ".join(f"{k} {'-' if v is None else f'{v:.1g}'}" for k, v in found["differences"].items())


def _rate_line(row: Mapping[str, Any], comparison: Mapping[str, Any]) -> tuple[str, ...]:
    rates = {}
    for key in ("fast", "slow"):
        contestant = row["contestants"][comparison[key]]
        flop = contestant.get("figures", {}).get("flop")
        rates[key] = flop / median(contestant["seconds"]) / 1e9 if flop and contestant["seconds"] else None
    shown = {key: "not measured" if rate is None else f"{rate:.0f}" for key, rate in rates.items()}
    share = f"{100 * rates['fast'] / rates['slow']:.0f} %" if rates["fast"] and rates["slow"] else ""
    return (comparison["fast"], shown["fast"], comparison["slow"], shown["slow"], share)


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What could not be measured, and why; what does not agree."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        failed: dict[str, list[str]] = {}
        for name, contestant in row["contestants"].items():
            reason = contestant.get("unavailable") or contestant.get("error")
            if reason:
                verb = "not measured" if "unavailable" in contestant else "failed"
                failed.setdefault(f"{verb}: {reason}", []).append(name)
            found = contestant.get("agreement")
            if found and not found["same"]:
                what = f"the results of {name} differ from {found['with']}'s by {_agreement(contestant)}"
                failed.setdefault(what, []).append(name)
        for reason, names in failed.items():
            who = "" if len(names) == len(row["contestants"]) else f" ({', '.join(names)})"
            reasons.setdefault(reason, []).append(row["title"] + who)
    return [f"{'; '.join(who)}: {reason}" for reason, who in reasons.items()]


def _machine_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row["machine"][key] for key in ("cpu", "cores", "gpu"))


def _machines(rows: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(_machine_key(row) for row in rows))


def _describe(rows: Sequence[Mapping[str, Any]]) -> str:
    """One sentence about the machine of some rows, the versions, and when they were measured."""
    machine = rows[0]["machine"]
    versions: dict[str, set[str]] = {}
    for row in rows:
        for contestant in row["contestants"].values():
            for name, version in contestant.get("versions", {}).items():
                versions.setdefault(name, set()).add(version)
    shown = [f"{name} {', '.join(sorted(versions[name]))}" for name in ("gcseg", "mmseg", "torch") if name in versions]
    days = sorted({row["finished"].split()[0] for row in rows})
    busiest = max(row["machine"]["load_before"] for row in rows)
    parts = [
        f"{machine['cpu']} ({', '.join(machine['instructions']) or machine['system']})",
        f"{machine['cores']} cores, {max(row['machine']['threads'] for row in rows)} threads unless the row says other",
        f"{amount(machine['memory_bytes'])} of memory",
        f"GPU: {machine['gpu'] or 'none'}",
        *shown,
        f"load before a row at most {busiest}",
        " to ".join(days[:: max(len(days) - 1, 1)]),
    ]
    return "; ".join(parts) + "."


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (head, rule, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
