"""The kinds of findings: how bad each is, and what to do. One table for the check, its report and its documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FAULT, NOTE = "fault", "note"


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        severity: :data:`FAULT` (training or evaluation stops at it, or gives wrong numbers) or :data:`NOTE`.
        title: what it is.
        remedy: what to do, unless the finding has a better word of its own; "" when its message says so.
    """

    severity: str
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "data-set": Kind(FAULT, "a data set that has no list of files", ""),
    "class-count": Kind(FAULT, "heads with another number of classes than the data set", ""),
    "missing-image": Kind(FAULT, "images that do not exist", ""),
    "missing-label": Kind(FAULT, "images without a label", ""),
    "empty-file": Kind(FAULT, "files of 0 bytes", ""),
    "unreadable-image": Kind(FAULT, "images that cannot be decoded", ""),
    "unreadable-label": Kind(FAULT, "labels that cannot be decoded", ""),
    "damaged-image": Kind(
        FAULT, "images that decode, with damage", "Look at them: parts are grey or shifted. Copy them again"
    ),
    "damaged-label": Kind(FAULT, "labels that decode, with damage", "Look at them, and copy them again"),
    "coloured-label": Kind(
        FAULT,
        "pictures where an index map is expected",
        "Convert the colours to class numbers once, and save 8-bit grey PNG",
    ),
    "wide-label": Kind(FAULT, "labels whose values are beyond 8 bits", ""),
    "lossy-label": Kind(FAULT, "labels stored as JPEG", "Make the labels again and save them as PNG"),
    "size": Kind(FAULT, "labels of another size than their images", ""),
    "label-range": Kind(FAULT, "labels with values that are no class", ""),
    "listed-twice": Kind(FAULT, "images that one data set lists twice", "List each once: it counts double now"),
    "leakage": Kind(
        FAULT,
        "images that are trained on and evaluated on",
        "Take them out of one of the two: scores on images of the training are worth nothing",
    ),
    "duplicate": Kind(NOTE, "images with the same content", "Keep one, unless the repetition is meant"),
    "absent-class": Kind(NOTE, "classes that never occur", "Is the class list right, and its order?"),
    "ignored-label": Kind(NOTE, "labels with nothing but ignored pixels", "Nothing is learnt or measured on them"),
    "spare-label": Kind(NOTE, "labels without an image", "Are their images missing, or their names different?"),
    "unread-labels": Kind(NOTE, "data sets whose pipeline reads no labels", "Add LoadAnnotations if it should"),
    "16-bit-label": Kind(NOTE, "labels of 16 bits", "They are read; 8-bit PNG is smaller and faster"),
    "16-bit-image": Kind(NOTE, "images of 16 bits", "The loader keeps the upper 8 bits: is the range used?"),
    "grey-image": Kind(NOTE, "grey images", "The loader makes three equal channels of one; other tools may not"),
    "alpha-image": Kind(
        NOTE, "images with transparency", "The loader drops it and shows the colours beneath; other tools may not"
    ),
    "turned-image": Kind(
        NOTE,
        "images that EXIF turns",
        "The loader turns them, many tools do not: were the labels drawn on the turned image? Save it turned",
    ),
    "unturned-image": Kind(
        NOTE,
        "images that EXIF would turn",
        "This loader ignores EXIF, viewers do not. Save them as they should be",
    ),
    "odd-file": Kind(NOTE, "files that are read but are odd", "Convert them if other tools have trouble"),
    "labels-hint": Kind(NOTE, "what the values of the labels suggest", ""),
}


@dataclass
class Finding:
    """Something that was found.

    Attributes:
        kind: key of :data:`KINDS`.
        splits: train, val, test: those that use the file.
        file: path it is about; ``""`` when it is about a split.
        message: what it is, with the file's name where there is one.
        remedy: what to do.
        files: other paths that belong to it.
    """

    kind: str
    splits: list[str]
    file: str
    message: str
    remedy: str = ""
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.remedy = self.remedy or KINDS[self.kind].remedy

    @property
    def severity(self) -> str:
        """:data:`FAULT` or :data:`NOTE`."""
        return KINDS[self.kind].severity
