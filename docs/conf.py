"""Sphinx configuration; built with warnings as errors (``sphinx-build -W docs docs/_build``)."""

from pathlib import Path

version_file: dict = {}
exec((Path(__file__).parent.parent / "gcseg" / "version.py").read_text(), version_file)

project = "gcseg"
author = "the gcseg authors"
copyright = author
release = version = version_file["__version__"]

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"gcseg {release}"
nitpicky = True


def setup(app):
    """Write the config reference before the pages are read."""
    import sys

    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    import reference_pages

    reference_pages.write(Path(__file__).parent / "reference")
