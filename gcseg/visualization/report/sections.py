"""The sections of the page as HTML. Every text from data is escaped here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from gcseg.visualization.report.data import ClassScores, Evaluation, Picture, Run
from gcseg.visualization.report.pictures import picture_uris

_TILES = ("photograph", "truth", "prediction", "error")
_CONFUSIONS = 12


def percent(value: float | None, digits: int = 1) -> str:
    """``0.5`` -> ``50.0``; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def change(new: float | None, old: float | None) -> str:
    """A difference in points, as HTML: sign, colour and arrow."""
    if new is None or old is None:
        return '<span class="quiet">–</span>'
    points = round(100 * (new - old), 1)
    if not points:
        return '<span class="quiet">0.0</span>'
    kind, arrow = ("better", "▲") if points > 0 else ("worse", "▼")
    return f'<span class="{kind}">{points:+.1f}&nbsp;{arrow}</span>'


def section(key: str, title: str, body: str) -> str:
    """A section with a heading."""
    return f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{title}</h2>\n{body}\n</section>'


def note(text: str) -> str:
    """A paragraph that says what is missing, or what something means; ``text`` is escaped."""
    return f'<p class="note">{escape(text)}</p>'


def figures(run: Run, other: Run | None) -> str:
    """The numbers at the top."""
    found, old = run.evaluation, other.evaluation if other else None
    if found is None:
        return ""
    rows = [
        ("mIoU", found.mean("iou"), old.mean("iou") if old else None),
        ("pixel accuracy", found.accuracy, old.accuracy if old else None),
        ("mean class accuracy", found.mean("accuracy"), old.mean("accuracy") if old else None),
        ("boundary mIoU", found.mean("boundary_iou"), old.mean("boundary_iou") if old else None),
    ]
    cells = [
        f"<div><dt>{name}</dt><dd>{percent(value)}{' ' + change(value, before) if old else ''}</dd></div>"
        for name, value, before in rows
        if value is not None
    ]
    if found.calibration is not None:
        cells.append(f"<div><dt>calibration error</dt><dd>{percent(found.calibration.error)}</dd></div>")
    if found.num_images is not None:
        cells.append(f"<div><dt>images</dt><dd>{found.num_images}</dd></div>")
    return f'<dl class="figures">{"".join(cells)}</dl>' + note("Scores are percentages.")


def class_table(found: Evaluation, other: Evaluation | None, palette: Sequence[Sequence[int]]) -> str:
    """One row a class: bars of IoU, the change, accuracy, boundary IoU, share of the pixels."""
    before = {c.name: c for c in other.classes} if other else {}
    columns = [("class", "text", ""), ("IoU", "number", "intersection over union, %")]
    columns += [("change", "number", "points of IoU against the other run")] if other else []
    columns += [("accuracy", "number", "share of the class's pixels that are found, %")]
    columns += [("boundary IoU", "number", "IoU near the contours, %")] if found.boundary_ratio is not None else []
    columns += [("pixels", "number", "share of the labelled pixels, %")] if found.confusion is not None else []
    heads = "".join(
        f'<th scope="col" aria-sort="none" data-kind="{kind}">'
        f'<button type="button" title="{title}">{name}</button></th>'
        for name, kind, title in columns
    )
    rows = "\n".join(
        _class_row(c, before.get(c.name), other is not None, colour, found)
        for c, colour in zip(found.classes, palette, strict=True)
    )
    text = _scrolling(
        "scores of each class",
        '<table class="sortable"><caption>Scores of each class. The headings sort.</caption>'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>",
    )
    if found.boundary_ratio is not None:
        text += note(
            f"Boundary IoU is |G_d ∩ P_d| / |G_d ∪ P_d|, where G_d and P_d are the pixels of the true and of the "
            f"predicted region within d pixels of their contours, d = {100 * found.boundary_ratio:g}% of the image's "
            "diagonal (Cheng et al. 2021); areas are added up over all images."
        )
    if other and None not in (found.num_images, other.num_images) and found.num_images != other.num_images:
        text += note(f"This run was tested on {found.num_images} images, the other one on {other.num_images}.")
    if other:
        common = sum(c.name in before for c in found.classes)
        missing = len(found.classes) - common
        if missing or common < len(before):
            text += note(
                f"{missing} of {len(found.classes)} classes are not in the other run, and {len(before) - common} of "
                f"its {len(before)} are not in this one; the means are over different classes."
            )
    return text


def _class_row(
    scores: ClassScores, before: ClassScores | None, compared: bool, colour: Sequence[int], found: Evaluation
) -> str:
    def cell(value: float | None, text: str, inside: str = "") -> str:
        return f'<td data-value="{"" if value is None else f"{value:.6f}"}">{inside}{text}</td>'

    old = before.iou if before else None
    mark = "" if old is None else f'<i style="left:{100 * old:.1f}%"></i>'
    bar = f'<span class="bar"><b style="width:{100 * (scores.iou or 0):.1f}%"></b>{mark}</span>'
    delta = None if old is None or scores.iou is None else scores.iou - old
    swatch = f'<span class="swatch" style="background:rgb({",".join(str(int(v)) for v in colour)})"></span>'
    cells = [
        f'<th scope="row">{swatch}{escape(scores.name)}</th>',
        cell(scores.iou, f"<span>{percent(scores.iou)}</span>", bar),
    ]
    cells += [cell(delta, change(scores.iou, old))] if compared else []
    cells += [cell(scores.accuracy, percent(scores.accuracy))]
    cells += [cell(scores.boundary_iou, percent(scores.boundary_iou))] if found.boundary_ratio is not None else []
    cells += [cell(scores.share, percent(scores.share, 2))] if found.confusion is not None else []
    return f"<tr>{''.join(cells)}</tr>"


def confusion(found: Evaluation) -> str:
    """A place for the picture that the script draws, and a table of the largest confusions."""
    if found.confusion is None:
        return note("Only scores are left of this test: run it with --report to see which classes are confused.")
    counts = found.confusion
    rows = counts.sum(1)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = [int(i) for i in np.argsort(wrong, axis=None, kind="stable")[::-1][:_CONFUSIONS] if wrong.flat[i]]
    names = [escape(c.name) for c in found.classes]
    lines = "\n".join(
        f'<tr><th scope="row">{names[t]}</th><td>{names[p]}</td><td>{counts[t, p]:,}</td>'
        f"<td>{percent(counts[t, p] / rows[t])}</td></tr>"
        for t, p in (divmod(i, len(names)) for i in order)
    )
    text = (
        '<div class="figure"><div class="scroll"><canvas id="matrix" tabindex="0" role="application" '
        'aria-label="confusion matrix: rows are true classes, columns predicted ones; arrow keys move" '
        'aria-describedby="matrix-readout"></canvas></div>'
        '<output id="matrix-readout" aria-live="polite">Point at a cell, tap it, or use the arrow keys.</output></div>'
        + note("Each row is a true class and adds up to 100%: stronger is more. Blue is right, red is wrong.")
    )
    if lines:
        heads = "".join(f'<th scope="col">{n}</th>' for n in ("true", "predicted", "pixels", "% of the true class"))
        text += _scrolling(
            "largest confusions",
            "<table><caption>The largest confusions</caption>"
            f"<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>",
        )
    if found.outside:
        text += note(f"{found.outside:,} labelled pixels were predicted as something that is no class of the data set.")
    return text


def calibration(found: Evaluation, other: Evaluation | None) -> str:
    """A place for the reliability diagram, and what it says."""
    if found.calibration is None:
        return note(
            "The predictions came without probabilities, as those of test-time augmentation do; nothing can be said of "
            "their calibration."
        )
    words = f"Expected calibration error: <strong>{percent(found.calibration.error, 2)}%</strong>"
    if other and other.calibration is not None:
        words += f" (the other run: {percent(other.calibration.error, 2)}%)"
    text = f'<p>{words}</p><div class="figure" id="reliability"></div>' + note(
        f"Pixels are sorted into {len(found.calibration.count)} bins by the probability of their predicted class. A "
        "bar is the share of right ones in a bin; on the diagonal confidence and accuracy agree. The error is the mean "
        "over all pixels of the distance between the two in their bin (Guo et al. 2017)."
    )
    if found.num_uncalibrated:
        text += note(f"{found.num_uncalibrated} of {found.num_images} images came without probabilities.")
    return text


def images(found: Evaluation, palette: Sequence[Sequence[int]]) -> str:
    """Worst and best images, with a choice of class."""
    if not found.worst and not found.best:
        return note("No pictures were kept: run the test with --report; images without a labelled pixel are not shown.")
    shown = [*found.worst, *found.best]
    present = sorted({c for picture in shown for c in picture.iou})
    options = "".join(f'<option value="{c}">{escape(found.classes[c].name)}</option>' for c in present)
    text = (
        '<p class="controls"><label for="class-filter">Images with the class </label><select id="class-filter">'
        f'<option value="">any</option>{options}</select> <output id="filter-count" aria-live="polite"></output></p>'
    )
    for title, pictures in (("Worst", found.worst), ("Best", found.best)):
        if pictures:
            cards = "\n".join(_card(p, found, palette) for p in pictures)
            text += f'<h3>{title}, by the mean IoU of their own classes</h3>\n<ul class="cards">\n{cards}\n</ul>'
    legend = "".join(
        f'<li><span class="swatch" style="background:rgb({",".join(str(int(v)) for v in palette[c])})"></span>'
        f"{escape(found.classes[c].name)}</li>"
        for c in present
    )
    text += (
        f'<ul class="legend" aria-label="colours of the classes">{legend}<li><span class="swatch wrong"></span>error: '
        'wrong</li><li><span class="swatch unlabelled"></span>error: unlabelled</li></ul>'
    )
    if found.num_unlabelled:
        text += note(f"{found.num_unlabelled} of {found.num_images} images have no labelled pixel and no score.")
    return text


def _card(picture: Picture, found: Evaluation, palette: Sequence[Sequence[int]]) -> str:
    name = escape(picture.path.replace("\\", "/").rpartition("/")[2] or picture.path)
    uris = picture_uris(picture, palette)
    tiles = "".join(
        f'<span class="tile {key}"><img src="{uris[key]}" alt="{key} of {name}"></span>'
        if uris[key]
        else f'<span class="tile {key}"><span>no {key}</span></span>'
        for key in _TILES
    )
    scores = "; ".join(f"{escape(found.classes[c].name)} {percent(v)}" for c, v in picture.iou.items())
    return (
        f'<li class="card" data-classes="{" ".join(map(str, picture.iou))}"><div class="tiles">{tiles}</div>'
        f'<p><button type="button" class="open">Zoom</button> <span class="name" title="{escape(picture.path)}">{name}'
        f'</span> <span class="score">mIoU {percent(picture.score)}, accuracy {percent(picture.accuracy)}</span></p>'
        f"<details><summary>IoU of its classes</summary><p>{scores}</p></details></li>"
    )


def facts(rows: Mapping[str, str], other: Mapping[str, str] | None, missing: str) -> str:
    """A table of names and words, beside those of the other run."""
    if not rows:
        return note(missing)
    keys = [*rows, *(k for k in other or () if k not in rows)]
    lines = "\n".join(
        f'<tr><th scope="row">{escape(k)}</th><td>{escape(rows.get(k, "–"))}</td>'
        + (f"<td>{escape(other.get(k, '–'))}</td>" if other is not None else "")
        + "</tr>"
        for k in keys
    )
    heads = "".join(f'<th scope="col">{n}</th>' for n in ("what", "this run", "the other"))
    head = f"<thead><tr>{heads}</tr></thead>" if other is not None else ""
    return _scrolling("facts", f'<table class="facts">{head}<tbody>{lines}</tbody></table>')


def config(run: Run, other: Run | None) -> str:
    """The config, folded, and what is different in the other run's."""
    if run.config is None:
        return note("No config was found in the folder of the run.")
    text = ""
    if other is not None and other.config is not None:
        before, now = other.config.splitlines(), run.config.splitlines()
        differing = "\n".join(difflib.unified_diff(before, now, "the other run", "this run", n=1, lineterm=""))
        text = note("The other run has the same config.")
        if differing:
            text = _folded("What differs from the other run", differing, " open")
    return text + _folded("The whole config", run.config)


def _folded(title: str, text: str, state: str = "") -> str:
    return f'<details{state}><summary>{title}</summary><pre tabindex="0">{escape(text)}</pre></details>'


def _scrolling(label: str, table: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{table}</div>'
