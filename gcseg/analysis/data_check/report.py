"""What a check found, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from gcseg.analysis.data_check.kinds import FAULT, KINDS, NOTE, Finding
from gcseg.analysis.data_check.labels import Tally
from gcseg.analysis.data_check.sources import SPLITS

SCHEMA = 1
_SHOWN = 5  # findings of a kind in the text


@dataclass
class DataSetSummary:
    """One data set of a split; ``same_as`` names the split that has the same files, where nothing was done again."""

    split: str
    place: str
    name: str
    items: int
    images: int
    labels: int
    same_as: str = ""


@dataclass
class CheckReport:
    """What :func:`~gcseg.analysis.check_data` found.

    Attributes:
        config: name or path of the config.
        seconds: that it took.
        workers: number of processes.
        files: number of files that were read, each once.
        data_sets: those that could be listed.
        tallies: split -> pixels of its labels.
        findings: faults and notes.
    """

    config: str
    seconds: float
    workers: int
    files: int
    data_sets: list[DataSetSummary]
    tallies: dict[str, Tally]
    findings: list[Finding]

    @property
    def faults(self) -> list[Finding]:
        """What training or evaluation would stop at, or give wrong numbers for."""
        return [finding for finding in self.findings if finding.severity == FAULT]

    @property
    def notes(self) -> list[Finding]:
        """What is worth a look."""
        return [finding for finding in self.findings if finding.severity == NOTE]

    @property
    def exit_code(self) -> int:
        """1 when there is a fault, else 0."""
        return 1 if self.faults else 0

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; docs/reliability.md describes the keys."""
        return {
            "gcseg_check": SCHEMA,
            "config": self.config,
            "seconds": round(self.seconds, 3),
            "workers": self.workers,
            "files": self.files,
            "faults": len(self.faults),
            "notes": len(self.notes),
            "kinds": dict(Counter(finding.kind for finding in self.findings)),
            "data_sets": [asdict(data_set) for data_set in self.data_sets],
            "labels": {split: _tally(tally) for split, tally in self.tallies.items() if tally.labels},
            "findings": [{"severity": f.severity, **asdict(f)} for f in self.findings],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        processes = f"{self.workers} process{'es' * (self.workers != 1)}" if self.workers else "this process"
        yield f"{self.config}: {self.files} files read in {self.seconds:.1f} s by {processes}"
        yield from _table(
            [["split", "data set", "images", "labels", ""]]
            + [
                [d.split, d.name, str(d.images), str(d.labels), f"the files of {d.same_as}" if d.same_as else ""]
                for d in self.data_sets
            ],
            left=2,
        )
        yield from self._classes()
        for severity, findings in ((FAULT, self.faults), (NOTE, self.notes)):
            for kind in dict.fromkeys(finding.kind for finding in findings):
                yield from _section(severity, kind, [finding for finding in findings if finding.kind == kind])
        yield ""
        if not self.faults:
            yield f"No faults, {_number(len(self.notes), 'note')}."
        else:
            files = len({finding.file for finding in self.faults if finding.file})
            where = f" in {_number(files, 'file')}" if files else ""
            yield f"{_number(len(self.faults), 'fault')}{where}, {_number(len(self.notes), 'note')}."

    def _classes(self) -> Iterator[str]:
        """Pixels of each class, in per cent of all pixels of the split."""
        tallies = {split: self.tallies[split] for split in SPLITS if split in self.tallies}
        tallies = {split: tally for split, tally in tallies.items() if tally.total}
        if not tallies:
            return
        yield ""
        names = max((tally.classes for tally in tallies.values()), key=len)
        numbers = range(len(names)) if names else sorted({label for t in tallies.values() for label in t.pixels})
        rows = [["class, % of pixels", *tallies]]
        for label in numbers:
            name = names[label] if names else f"{label}"
            rows.append([name, *(_percent(t.pixels[label], t.total) for t in tallies.values())])
        rows.append(["ignored", *(_percent(t.ignored, t.total) for t in tallies.values())])
        yield from _table(rows, left=1)


def _tally(tally: Tally) -> dict[str, Any]:
    numbers = range(len(tally.classes)) if tally.classes else sorted(tally.pixels)
    return {
        "labels": tally.labels,
        "pixels": tally.total,
        "ignored": tally.ignored,
        "values": {str(value): tally.values[value] for value in sorted(tally.values)},
        "classes": [
            {
                "label": label,
                "name": tally.classes[label] if tally.classes else None,
                "pixels": tally.pixels[label],
                "images": tally.images[label],
            }
            for label in numbers
        ],
    }


def _section(severity: str, kind: str, findings: list[Finding]) -> Iterator[str]:
    splits = [split for split in SPLITS if any(split in finding.splits for finding in findings)]
    yield ""
    yield f"{severity}: {KINDS[kind].title} [{kind}], {len(findings)} in {' and '.join(splits)}"
    said = ""
    for finding in findings[:_SHOWN]:
        yield f"  {finding.message}"
        if finding.remedy and finding.remedy != said:
            said = finding.remedy
            yield f"    -> {said}"
    if len(findings) > _SHOWN:
        yield f"  and {len(findings) - _SHOWN} more; --json FILE lists all"


def _table(rows: list[list[str]], left: int) -> Iterator[str]:
    """Columns side by side, the first ``left`` and the last empty-headed one flush left, numbers flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < left or not rows[0][column] else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}" if part else "none"


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
