"""The page: one HTML file with its style, its script and its pictures inside.

Nothing is loaded: a content security policy allows the page's own script, known by its hash, and pictures that are
inside the file. The charts are drawn by that script as SVG and on a canvas, without a library.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from gcseg.visualization.paint import generate_palette
from gcseg.visualization.report import sections
from gcseg.visualization.report.data import Curve, Evaluation, Run, Training

_SCRIPTS = ("charts.js", "lines.js", "matrix.js", "table.js", "viewer.js")


def render_report(run: Run, other: Run | None = None, made: str = "") -> str:
    """Make the page.

    Args:
        run: what is shown.
        other: an earlier run that it is compared with.
        made: words for the time at which the page was made.

    Returns:
        The text of an HTML file.

    Raises:
        DataError: pictures that cannot be read.
    """
    found, before = run.evaluation, other.evaluation if other else None
    palette = _palette(found)
    parts = [("training", "Training", _training(run, other))]
    if found is None:
        parts.append(("classes", "Classes", _no_evaluation()))
    else:
        table = sections.class_table(found, before, palette)
        if other and before is None:
            table += sections.note("The other run left no scores of classes: test it with --report to compare them.")
        parts += [
            ("classes", "Classes", table),
            ("confusion", "Confusion", sections.confusion(found)),
            ("calibration", "Calibration", sections.calibration(found, before)),
            ("images", "Images", sections.images(found, palette)),
        ]
    not_measured = "Nothing was measured: this comes from a test with --report."
    parts += [
        ("speed", "Speed and memory", sections.facts(run.speed, other.speed if other else None, not_measured)),
        ("config", "Config", sections.config(run, other)),
        (
            "environment",
            "Environment",
            sections.facts(run.environment, other.environment if other else None, not_measured),
        ),
    ]
    style = _asset("report.css")
    script = "(() => {\n" + "\n".join(_asset(name) for name in _SCRIPTS) + "\n})();"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_sha256(script)}'"
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title, _ in parts)
    lead = " · ".join(escape(words) for words in (found.subject if found else "", made) if words)
    against = f'<p class="lead">compared with <strong>{escape(other.name)}</strong></p>' if other else ""
    notes = "".join(sections.note(text) for text in (*run.notes, *(other.notes if other else ())))
    body = "\n".join(sections.section(*part) for part in parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(run.name)} – gcseg report</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header>
<h1>{escape(run.name)}</h1>
<p class="lead">{lead}</p>{against}
</header>
<nav aria-label="sections"><ul>{links}</ul></nav>
<main id="main">
{sections.figures(run, other)}
{notes}
<noscript><p class="note">Charts, sorting and zooming need the script inside this page.</p></noscript>
{body}
</main>
<footer><p>Made by gcseg. This file is whole: it loads nothing.</p></footer>
<script type="application/json" id="data">{_json(_data(run, other))}</script>
<script>{script}</script>
</body>
</html>
"""


def _training(run: Run, other: Run | None) -> str:
    training = run.training
    if training is None:
        return sections.note("The folder has no log of a training (TIME/vis_data/scalars.json).")
    text = "".join(f'<div class="figure line" id="chart-{key}"></div>' for key, *_ in _charts(training, None))
    if training.not_finite:
        shown = ", ".join(str(i) for i in training.not_finite[:10])
        more = f" and {len(training.not_finite) - 10} more" if len(training.not_finite) > 10 else ""
        text += sections.note(f"A loss was not finite at iteration {shown}{more}; the curves have gaps there.")
    if training.resumed:
        text += sections.note(f"The run was resumed at iteration {', '.join(map(str, training.resumed))}.")
    if other and other.training is None:
        text += sections.note("The other run left no log of a training.")
    return text


def _no_evaluation() -> str:
    return sections.note(
        "No test was recorded here. `gcseg test CONFIG CHECKPOINT --work-dir THIS_FOLDER --report` adds scores, "
        "confusions, calibration and pictures."
    )


def _charts(training: Training, other: Training | None) -> list[tuple[str, str, bool, list[dict[str, Any]]]]:
    """(key, title, whether a logarithmic axis makes sense, series) of each chart that has a curve."""

    def series(curves: Sequence[Curve], more: Sequence[Curve]) -> list[dict[str, Any]]:
        names = {c.name for c in curves}
        pairs = [(c, False) for c in curves] + [(c, True) for c in more if c.name in names]
        return [{"name": c.name, "other": is_other, **_points(c)} for c, is_other in pairs if c.steps]

    old = other or Training()
    charts = [
        ("loss", "Loss", True, series(training.losses, [c for c in old.losses if c.name in ("loss", "val_loss")])),
        ("scores", "Validation, %", False, series(training.scores, [c for c in old.scores if c.name == "mIoU"])),
        ("rate", "Learning rate", True, series(training.rates, old.rates)),
    ]
    return [chart for chart in charts if chart[3]]


def _points(curve: Curve) -> dict[str, Any]:
    thin = curve.thinned()
    return {"steps": thin.steps, "values": [None if v is None else float(f"{v:.5g}") for v in thin.values]}


def _data(run: Run, other: Run | None) -> dict[str, Any]:
    """What the script draws."""
    data: dict[str, Any] = {"charts": [], "marks": [], "gaps": []}
    if run.training is not None:
        charts = _charts(run.training, other.training if other else None)
        data["charts"] = [{"id": k, "title": t, "log": log, "series": s} for k, t, log, s in charts]
        data["marks"], data["gaps"] = run.training.resumed, run.training.not_finite[:200]
    found, before = run.evaluation, other.evaluation if other else None
    if found is not None and found.confusion is not None:
        data["classes"], data["confusion"] = [c.name for c in found.classes], found.confusion.tolist()
    if found is not None and found.calibration is not None:
        data["reliability"] = vars(found.calibration)
        if before is not None and before.calibration is not None:
            data["otherReliability"] = vars(before.calibration)
    return data


def _palette(found: Evaluation | None) -> list[list[int]]:
    if found is None:
        return []
    given = found.palette or ()
    return [list(c) for c in given] if len(given) == len(found.classes) else generate_palette(len(found.classes))


def _json(data: Any) -> str:
    """JSON that a script element holds: no text in it ends that element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()
