"""What the values in the labels of a data set mean for its config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from gcseg.analysis.data_check.sources import Source
from gcseg.datasets._files import shorten

_MANY = 32  # values that are no class: more than any list of classes forgot


class Tally:
    """Pixels of one split, counted by value and by class.

    Attributes:
        values: value in the files -> pixels.
        pixels: class -> pixels; after ``reduce_zero_label``, ``label_map`` and ``void_labels``.
        images: class -> labels that show it.
        ignored: pixels that count for nothing.
        labels: number of labels that were counted.
        classes: names.
    """

    def __init__(self, classes: Sequence[str] = ()) -> None:
        self.values: Counter[int] = Counter()
        self.pixels: Counter[int] = Counter()
        self.images: Counter[int] = Counter()
        self.ignored = 0
        self.labels = 0
        self.classes = list(classes)

    def add(self, counts: Mapping[int, int], source: Source) -> None:
        """Count one label."""
        self.labels += 1
        self.values.update(counts)
        pixels: Counter[int] = Counter()
        for value, number in counts.items():
            label = int(source.table[value])
            if label == source.ignore_index:
                self.ignored += number
            elif not self.classes or label < len(self.classes):
                pixels[label] += number
        self.pixels.update(pixels)
        self.images.update(pixels.keys())

    @property
    def total(self) -> int:
        """Pixels of all labels."""
        return sum(self.values.values())

    @property
    def absent(self) -> list[str]:
        """Names of the classes that no label shows."""
        return [name for label, name in enumerate(self.classes) if not self.pixels[label]]


def beyond(values: Iterable[int], source: Source) -> list[int]:
    """Which values in the files are neither a class nor ignored, ascending."""
    number = source.rules.get("num_classes")
    if number is None:
        return []
    return sorted(v for v in values if source.table[v] >= number and source.table[v] != source.ignore_index)


def remedy(tally: Tally, source: Source, number_wrong: int, with_palette: bool) -> str:
    """What to do about values that are no class, judged by all labels of a data set.

    Args:
        tally: of the data set.
        source: the data set.
        number_wrong: how many of its labels have such values.
        with_palette: whether the label in question is a palette PNG.
    """
    number = int(source.rules["num_classes"])
    reduced = bool(source.rules.get("reduce_zero_label"))
    wrong = beyond(tally.values, source)
    meant = sorted(v for v in tally.values if source.table[v] != source.ignore_index)
    share = 100 * sum(tally.values[v] for v in wrong) / max(1, tally.total)
    seen = (
        f"{number_wrong} of the {tally.labels} labels of {source.split} hold{'s' * (number_wrong == 1)} such values: "
        f"{shorten(wrong)}, on {share:.2g} % of all pixels. "
    )
    if with_palette:
        return seen + (
            "The labels are palette PNGs, and their pixels are places in palettes of their own: if the colours are "
            "right, turn colours into class numbers (docs/reliability.md has the lines)"
        )
    if len(wrong) > _MANY:
        return seen + (
            "So many values are grey levels or instance ids and no class numbers: convert the labels, or set "
            "seg_map_suffix or data_prefix to the files with class numbers"
        )
    if wrong == [255]:
        return seen + "255 is the customary value for 'unlabelled': set ignore_index=255, or void_labels=[255]"
    if wrong == [number] and not reduced and not tally.values[0]:
        return seen + f"0 never occurs and values run from 1 to {number}: set reduce_zero_label=True"
    if meant and meant[-1] == wrong[-1] and meant == list(range(meant[0], meant[-1] + 1)) and len(wrong) > 1:
        last = wrong[-1] - (1 if reduced else 0)
        return seen + (
            f"Values run from {meant[0]} to {meant[-1]} without a gap: there are {last + 1} classes and num_classes="
            f"{number} is too small. Name all in metainfo of the data sets and set num_classes={last + 1} in the heads"
        )
    return seen + (
        f"If they mean 'unlabelled', set void_labels={wrong}; if 0 is 'other' and classes start at 1, set "
        "reduce_zero_label=True; if they are more classes, name them in metainfo and raise num_classes"
    )


def hints(tally: Tally, source: Source) -> list[str]:
    """What looks wrong though every value is allowed."""
    number, found = source.rules.get("num_classes"), []
    values = set(tally.values)
    if values == {0, 255} and source.ignore_index == 255 and number == 2:
        found.append(
            f"{source.split}: the labels hold 0 and 255 and nothing else. In a mask of 0 and 255, 255 is the second "
            "class; here it is ignore_index, and the second class never occurs. Write 1 in place of 255"
        )
    top = max((v for v in values if v != 255), default=0)
    if source.rules.get("reduce_zero_label") and number and 0 in values and top == number - 1:
        found.append(
            f"{source.split}: the labels hold values from 0 to {top}, which is {number} classes without "
            "reduce_zero_label; with it, 0 is ignored and the last class never occurs. Is reduce_zero_label=True right?"
        )
    return found


def colours_remedy(colours: Sequence[tuple[int, int, int]], source: Source) -> str:
    """What to do about a label in colours."""
    palette = {tuple(int(c) for c in colour) for colour in source.dataset.metainfo.get("palette") or ()}
    if not colours:
        return ""
    if all(red == green == blue for red, green, blue in colours):
        return "Its channels are equal: keep one, `Image.open(f).getchannel(0).save(f)` with Pillow"
    strange = [colour for colour in colours if colour not in palette]
    if not strange:
        return "All its colours are in the data set's palette: docs/reliability.md has the lines that convert it"
    return (
        f"Of its {len(colours)} colours, {len(strange)} are not in the data set's palette, such as {strange[0]}: find "
        "the list of colours that it was painted with; docs/reliability.md has the lines that convert it"
    )
