"""From facts about files to findings about data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from os.path import abspath

from gcseg.analysis.data_check.facts import IMAGE, LABEL, Facts, Job, decodes_as
from gcseg.analysis.data_check.kinds import Finding
from gcseg.analysis.data_check.labels import Tally, beyond, colours_remedy, hints, remedy
from gcseg.analysis.data_check.sources import Neighbours, Source
from gcseg.datasets._files import shorten
from gcseg.datasets.transforms.loading import check_size
from gcseg.utils.errors import DataError

FactsOf = Mapping[tuple, Facts]


class Judge:
    """Says what is wrong with the files of data sets.

    Args:
        facts: of every file, by :func:`~gcseg.analysis.data_check.facts.decodes_as`.

    Attributes:
        tallies: split -> pixels of its labels.
    """

    def __init__(self, facts: FactsOf) -> None:
        self._facts = facts
        self._findings: dict[tuple[str, str, str], Finding] = {}
        self._neighbours = Neighbours()
        self.tallies: dict[str, Tally] = {}

    @property
    def findings(self) -> list[Finding]:
        """All of them, in the order in which they were found."""
        return list(self._findings.values())

    def judge(self, sources: Sequence[Source]) -> None:
        """Look at all data sets."""
        for source in sources:
            if not source.same_as:
                self._judge_source(source)
        for split, tally in self.tallies.items():
            if tally.absent and tally.labels:
                end = "cannot be learnt" if split == "train" else "no score is given for what does not occur"
                words = f"{split}: no label shows {shorten(tally.absent)}; {end}"
                self._add("absent-class", split, "", words)
        for source in sources:
            if source.same_as:  # what was found in its files holds for it as well
                files = {file for pair in source.pairs for file in pair}
                for finding in self.findings:
                    if finding.file in files and source.split not in finding.splits:
                        finding.splits.append(source.split)
        self._find_copies(sources)

    def _add(self, kind: str, split: str, file: str, message: str, todo: str = "", files: tuple = ()) -> Finding:
        finding = self._findings.setdefault((kind, file, message), Finding(kind, [], file, message, todo, files))
        if split not in finding.splits:
            finding.splits.append(split)
        return finding

    def _judge_source(self, source: Source) -> None:
        tally = self.tallies.setdefault(source.split, Tally(source.classes))
        own = Tally(source.classes)  # several data sets of a split may need different remedies
        out_of_range: list[tuple[Finding, Facts]] = []
        for path, times in Counter(image for image, _ in source.pairs).items():
            if times > 1:
                words = f"image {path!r} is listed {times} times by {source.place}"
                self._add("listed-twice", source.split, path, words)
        if source.label_loader is None:
            words = f"{source.place}: the pipeline of {source.name} reads no labels, so none were looked at"
            self._add("unread-labels", source.split, "", words)
        for image, label in source.pairs:
            photo = self._facts[decodes_as(Job(IMAGE, image, source.image_loader))]
            self._judge_file(photo, source)
            if label is None or source.label_loader is None:
                continue
            mask = self._facts[decodes_as(Job(LABEL, label, source.label_loader))]
            self._judge_file(mask, source)
            if photo.size and mask.size:
                try:
                    check_size(mask.size, photo.size, {"img_path": image, "seg_map_path": label})
                except DataError as error:
                    self._add("size", source.split, label, str(error), files=(image,))
            if mask.counts:
                for each in (own, tally):
                    each.add(mask.counts, source)
                wrong = self._judge_values(mask, source)
                if wrong is not None:
                    out_of_range.append((wrong, mask))
        for finding, mask in out_of_range:
            finding.remedy = remedy(own, source, len(out_of_range), mask.has_palette)
        for words in hints(own, source):
            self._add("labels-hint", source.split, "", words)

    def _judge_file(self, facts: Facts, source: Source) -> None:
        if facts.fault:
            todo = ""
            if facts.fault in ("missing-image", "missing-label"):
                of_label = facts.kind == LABEL
                suffixes = [source.dataset.seg_map_suffix] if of_label else source.dataset._suffixes()
                todo = self._neighbours.hint(facts.path, suffixes, "seg_map_suffix" if of_label else "img_suffix")
            elif facts.fault == "coloured-label":
                todo = colours_remedy(facts.colours, source)
            self._add(facts.fault, source.split, facts.path, facts.message, todo)
        for kind, words in facts.remarks:
            if kind == "turned-image" and not _turns(source):
                kind = "unturned-image"
            if kind == "alpha-image" and source.image_loader.color_type == "unchanged":
                continue  # the fourth channel is wanted
            self._add(kind, source.split, facts.path, f"{facts.kind} {facts.path!r} {words}")

    def _judge_values(self, mask: Facts, source: Source) -> Finding | None:
        """The finding about values that are no class, if there are such; its remedy depends on the other labels."""
        wrong = beyond(mask.counts, source)
        if wrong:
            number = int(source.rules["num_classes"])
            pixels = sum(mask.counts[value] for value in wrong)
            words = (
                f"label {mask.path!r} holds {shorten(wrong)} on {pixels} pixels, but there are {number} classes (0 to "
                f"{number - 1}) and ignore_index={source.ignore_index}; all its values are "
                f"{shorten(sorted(mask.counts), 20)}"
            )
            return self._add("label-range", source.split, mask.path, words)
        if all(source.table[value] == source.ignore_index for value in mask.counts):
            words = f"label {mask.path!r} has nothing but ignored pixels (values {shorten(sorted(mask.counts))})"
            self._add("ignored-label", source.split, mask.path, words)
        return None

    def _find_copies(self, sources: Sequence[Source]) -> None:
        """The same image in several places."""
        users: dict[str, tuple[str, set[str]]] = {}  # absolute path -> path, splits
        by_content: dict[str, dict[str, None]] = {}
        for source in sources:
            for image, _ in source.pairs:
                users.setdefault(abspath(image), (image, set()))[1].add(source.split)
                digest = self._facts[decodes_as(Job(IMAGE, image, source.image_loader))].digest
                if digest:
                    by_content.setdefault(digest, {})[abspath(image)] = None
        for path, splits in users.values():
            if "train" in splits and len(splits) > 1:
                others = " and ".join(s for s in ("val", "test") if s in splits)
                for split in sorted(splits):
                    self._add("leakage", split, path, f"image {path!r} is in train and in {others}")
        for copies in by_content.values():
            trained = [users[c] for c in copies if "train" in users[c][1]]
            measured = [users[c] for c in copies if "train" not in users[c][1]]
            for path, splits in measured if trained else ():
                words = f"image {path!r} has the same content as {trained[0][0]!r} of train"
                for split in ("train", *sorted(splits)):
                    self._add("leakage", split, path, words, files=(trained[0][0],))
            for group in (trained, measured):
                for path, splits in group[1:]:
                    words = f"image {path!r} has the same content as {group[0][0]!r}"
                    for split in sorted(splits):
                        self._add("duplicate", split, path, words, files=(group[0][0],))


def _turns(source: Source) -> bool:
    """Whether the loader obeys EXIF, as mmcv does with OpenCV and Pillow unless it is told not to."""
    loader = source.image_loader
    return loader.imdecode_backend in ("cv2", "pillow") and loader.color_type in ("color", "grayscale")
