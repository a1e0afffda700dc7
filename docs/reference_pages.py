"""Write the reference of everything that a config can name, from the code: docs/reference/*.md, made by every build."""

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_origin

# Page -> title, where its parts stand in a config, and the registries, perhaps with the packages of their classes.
PAGES = {
    "models": ("Models", "`model`", [("MODELS", ("segmentors", "data_preprocessor", "backbones"))]),
    "heads": ("Heads", "`model.decode_head`, `model.auxiliary_head`", [("MODELS", ("decode_heads",))]),
    "blocks": (
        "Context blocks",
        "`cfg` of an entry of `model.backbone.plugins`, `block` of a `ContextHead`",
        [("MODELS", ("plugins", "context"))],
    ),
    "losses": (
        "Losses and samplers",
        "`loss_decode` and `sampler` of a head",
        [("MODELS", ("losses",)), ("TASK_UTILS", ())],
    ),
    "datasets": ("Data sets and samplers", "`*_dataloader`", [("DATASETS", ()), ("DATA_SAMPLERS", ())]),
    "transforms": ("Transforms", "`pipeline` of a data set", [("TRANSFORMS", ())]),
    "metrics": ("Metrics", "`val_evaluator`, `test_evaluator`", [("METRICS", ())]),
    "engine": (
        "Loops, optimizer wrappers, hooks",
        "`train_cfg`, `val_cfg`, `test_cfg`; `optim_wrapper`; `default_hooks`, `custom_hooks`; `visualizer`",
        [("LOOPS", ()), ("OPTIM_WRAPPERS", ()), ("HOOKS", ()), ("VISUALIZERS", ())],
    ),
}
ENTRY = re.compile(r"^    (?=\S)", re.M)


def write(folder: Path) -> None:
    """Write all pages into ``folder``; files that would not change are left alone."""
    folder.mkdir(exist_ok=True)
    lines = [
        "# Config reference",
        "",
        "Every `type` that gcseg adds or replaces, with its options. What is not here is",
    ]
    lines += ["mmengine's, mmcv's or torch's, under the same names as ever.", "", "```{toctree}", ":maxdepth: 1", ""]
    for name in PAGES:
        _put(folder / f"{name}.md", page(name))
    _put(folder / "index.md", "\n".join([*lines, *PAGES, "```", ""]))


def _put(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def page(name: str) -> str:
    """One page: a section for each class."""
    title, place, sources = PAGES[name]
    parts = [f"# {title}", "", f"In a config: {place}.", ""]
    for registry_name, packages in sources:
        for kind, cls in sorted(registered(registry_name, packages).items()):
            parts += section(kind, cls, registry_name)
    return "\n".join(parts)


def registered(registry_name: str, packages: tuple[str, ...] = ()) -> dict:
    """Name -> class of a registry of gcseg, of these packages of ``gcseg.models`` alone if there are any."""
    registry = getattr(importlib.import_module("gcseg.registry"), registry_name)
    registry.import_from_location()
    return {
        name: cls
        for name, cls in registry.module_dict.items()
        if not packages or cls.__module__.removeprefix("gcseg.models.").split(".")[0] in packages
    }


def section(kind: str, cls: type, registry_name: str) -> list[str]:
    """Heading, what it does, and a table of its options."""
    from gcseg.utils.signatures import arguments, spell

    before, _ = described(cls)
    lines = [f"## {kind}", "", before, ""]
    rows = []
    for name, parameter in options(cls, registry_name).items():
        required = parameter.default is parameter.empty
        default = "required" if required else f"`{parameter.default!r}`"
        kinds = "" if parameter.annotation is parameter.empty else f"`{spell(parameter.annotation)}`"
        cells = (f"`{name}`", kinds, default, description(cls, name))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if rows:
        lines += ["| option | kind | default | meaning |", "|---|---|---|---|", *rows, ""]
    if arguments(cls)[1]:
        lines += ["Other options are handed on to what it is built from.", ""]
    return lines


def options(cls: type, registry_name: str) -> dict[str, inspect.Parameter]:
    """What a config can give to a class: no functions, and nothing that the code hands in by itself."""
    from gcseg.config_check import _HANDED_IN
    from gcseg.utils.signatures import arguments

    hidden = _HANDED_IN.get(registry_name, set())
    return {
        name: parameter
        for name, parameter in arguments(cls)[0].items()
        if name not in hidden and get_origin(parameter.annotation) is not Callable
    }


def described(thing: object) -> tuple[str, dict[str, str]]:
    """The text before the first section of a docstring, and the text of each argument."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    before, _, after = text.partition("\nArgs:\n")
    before = re.split(r"\n(?:Raises|Returns|Attributes):\n", before)[0]
    found = {}
    if after:
        block = re.split(r"\n(?=\S)", after)[0]
        for entry in ENTRY.split(block)[1:]:
            name, separator, meaning = entry.partition(":")
            if separator:
                found[name.strip("* ")] = as_markdown(" ".join(meaning.split()))
    return as_markdown(before.strip()), found


def description(cls: type, name: str) -> str:
    """What an argument means, from the docstring of the class or of the nearest base of gcseg's that says it.

    Where that is none, the class of another library whose argument it is.
    """
    for base in inspect.getmro(cls) if inspect.isclass(cls) else (cls,):
        init = base.__dict__.get("__init__")
        if base.__module__.startswith("gcseg."):
            meaning = described(base)[1].get(name) or described(init)[1].get(name)
            if meaning:
                return meaning
        elif init is not None and name in inspect.signature(init).parameters:
            return f"as in {base.__module__.partition('.')[0]}'s `{base.__name__}`"
    return ""


def as_markdown(text: str) -> str:
    """Sphinx's roles and double backquotes as Markdown has them."""
    text = re.sub(r":\w+:`~?([\w.]+\.)?(\w+)`", r"`\2`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.S)
