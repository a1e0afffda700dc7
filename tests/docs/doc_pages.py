"""Follow a page of the documentation as its reader does: its blocks from top to bottom, in one folder.

* The Python blocks of a page share their names. One whose first line is ``# FILE.py`` is written to that file, and one
  that assigns keys of a config alone is loaded as a config, on top of ``my_config.py`` if it names no base.
* Bash itself reads the bash blocks: loops, variables, quotes. ``gcseg ...`` and ``python tools/...`` run in this
  process and have to end with exit code 0.
* ``text`` after ``<!-- as printed -->`` is what the bash block before it prints, with networks of their full size.
* A block that is not run says why, in a comment before it: ``<!-- not run: REASON -->``, or, where only the commands
  with certain words are left out, ``<!-- not run (WORD, WORD): REASON -->``. It is parsed all the same.
"""

from __future__ import annotations

import ast
import io
import re
import runpy
import shlex
import subprocess
import sys
import traceback
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import past_runs
import pytest
import yaml
from reader_folder import tiny

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"((?:^<!--[^>]*-->\n)*)^```(\w+)\n(.*?)^```$", re.S | re.M)
NOT_RUN = re.compile(r"<!-- not run(?: \(([^)]+)\))?: (\S[^>]*) -->")
# What bash does not find, which is everything, it hands to this function; we get the words and what is exported.
RECORDER = r"""
PATH=/nowhere
exec 3>&1
command_not_found_handle() {
  local record=$(
    printf '%s\x1f' "$@"
    printf '\x1e'
    for name in $(compgen -e); do printf '%s\x1f' "$name=${!name}"; done
  )
  printf '%s\x1d' "$record" >&3
}
cd() { command_not_found_handle cd "$@"; }
.() { :; }
source /dev/stdin
command_not_found_handle END
"""
#: Options that are added to a command because it would take long without them.
SHORTER = {
    "gcseg benchmark": "--repeats 1 --warmup 1 --shape 64 128",
    "gcseg check": "--workers 0",
    "tools/analysis_tools/check_dataset.py": "--workers 0",
    "tools/analysis_tools/compare_context.py cost": "--repeats 1 --warmup 1 --shape 64 128",
    "tools/analysis_tools/lr_finder.py": "--iterations 10",
    "tools/dataset_converters/cityscapes.py": "--nproc 1",
    "tools/dataset_converters/voc_aug.py": "--nproc 1",
    "tools/deployment/latency.py": "--rounds 1 --only eager onnx --shape 64 64",
    "tools/deployment/quantize.py": "--num 2",
}
#: So short, they say by exit code 1 that they found nothing.
MAY_FIND_NOTHING = {"--overfit", "tools/analysis_tools/lr_finder.py"}
#: The scripts that start processes: the tool that each of them starts, and where the arguments stand that are not its.
STARTERS = {
    "tools/dist_train.sh": ("tools/train.py", slice(1, 2)),
    "tools/dist_test.sh": ("tools/test.py", slice(2, 3)),
    "tools/slurm_train.sh": ("tools/train.py", slice(0, 2)),
    "tools/slurm_test.sh": ("tools/test.py", slice(0, 2)),
}


@dataclass(frozen=True)
class Block:
    """A block of code: the ``comments`` before it, its ``language`` and ``code``, and the ``line`` it begins in."""

    page: Path
    line: int
    comments: str
    language: str
    code: str

    @property
    def left_out(self) -> list[str] | None:
        """Words of the commands that are not run; ``[]`` for the whole block, None where all is run."""
        found = NOT_RUN.search(self.comments)
        return None if found is None else [word.strip() for word in (found[1] or "").split(",") if word]

    @property
    def is_config(self) -> bool:
        """Whether it assigns keys of a config."""
        from gcseg.config_check import KNOWN_TOP_LEVEL

        names = {"_base_", *KNOWN_TOP_LEVEL}
        tree = ast.parse(self.code if self.language == "python" else "")
        called = {getattr(n.func, "id", None) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        plain = called <= {"dict"} and all(isinstance(s, ast.Assign) for s in tree.body)
        return plain and any(t.id in names for s in tree.body for t in s.targets)

    @property
    def file(self) -> str | None:
        """The file that it is, which its first line names."""
        return next(iter(re.findall(r"\A# (\S+\.py)\n", self.code)), None)

    def __str__(self) -> str:
        return f"{self.page.name}, line {self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(page, text[: m.start(2)].count("\n") + 1, m[1], m[2], m[3]) for m in FENCE.finditer(text)]


def commands(code: str, env: dict[str, str] | None = None) -> list[tuple[list[str], dict[str, str]]]:
    """Words and exported variables of each command, as bash hands them over; the last is ``END``."""
    with TemporaryDirectory() as empty:  # where no path leads to a program either
        words = ["bash", "-c", RECORDER]
        done = subprocess.run(words, input=code, env=env or {}, cwd=empty, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, f"bash: {done.stderr}"
    found = []
    for record in done.stdout.split("\x1d")[:-1]:
        argv, exported = (part.split("\x1f")[:-1] for part in record.split("\x1e"))
        env = dict(entry.split("=", 1) for entry in exported)
        found.append((argv, {k: v for k, v in env.items() if k not in ("PATH", "PWD", "OLDPWD", "SHLVL", "_")}))
    return found


def of_gcseg(argv: list[str]) -> list[str] | None:
    """The command of gcseg that a command line is, or starts: ``["gcseg", ...]`` or ``["tools/NAME.py", ...]``."""
    for i, word in enumerate(argv):
        if word in STARTERS:
            tool, others = STARTERS[word]
            rest = argv[i + 1 :]
            del rest[others]
            return [tool, *rest]
        if (word == "gcseg" and (i == 0 or "docker run" in " ".join(argv))) or re.fullmatch(r"tools/\S+\.py", word):
            return argv[i:]
    return None


def call(argv: list[str]) -> int:
    """Run a command of gcseg in this process; its exit code."""
    from gcseg import cli

    try:
        if argv[0] == "gcseg":
            return cli.main(argv[1:])
        with patch.object(sys, "argv", argv):
            runpy.run_path(str(ROOT / argv[0]), run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    return 0


def parse(argv: list[str]) -> None:
    """Let a command's own parser read its words, and do nothing."""
    places = [patch(f"gcseg.cli.{name}", lambda run, args: 0) for name in ("run_guarded", "command.run_guarded")]
    with places[0], places[1], redirect_stderr(io.StringIO()) as said:
        assert call(argv) == 0, f"{' '.join(argv)}: {said.getvalue()}"


def check_unrun(block: Block) -> None:
    """Read what is not run: Python as Python, commands of gcseg by their parsers, and the words of the reason."""
    if block.language == "python":
        ast.parse(block.code)
    else:
        code = block.code
        if block.language == "yaml" and all(yaml.safe_load_all(code)):
            code = "\n".join(line.replace("exec ", "") for line in code.splitlines() if "tools/" in line)
        lines = [argv for argv, _ in commands(code)]
        for argv in filter(None, map(of_gcseg, lines)):
            parse(argv)
        unused = set(block.left_out or ()) - {word for argv in lines for word in argv}
        assert not unused, f"{block}: no command has the words {unused}"


@dataclass
class Reader:
    """Goes through the blocks of a page; ``folder`` is where the reader stands, and ``/data`` is ``folder/data``."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    names: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)
    printed: str = ""

    def follow(self, page: Path) -> None:
        """Run the blocks of a page.

        Raises:
            AssertionError: one of them fails; says which, and what it printed.
        """
        all_blocks = blocks(page)
        past_runs.forget()
        for block, after in zip(all_blocks, [*all_blocks[1:], None], strict=True):
            output = io.StringIO()
            try:
                full_size = block.is_config or (after is not None and "as printed" in after.comments)
                with redirect_stdout(output), redirect_stderr(output), nullcontext() if full_size else tiny():
                    self.run(block)
            except Exception as error:
                said = "".join(traceback.format_exception(error))
                raise AssertionError(f"{block}:\n{block.code}\n{output.getvalue()[-4000:]}\n{said[-3000:]}") from None
            if block.language == "bash":
                self.printed = output.getvalue()

    def run(self, block: Block) -> None:
        if "as printed" in block.comments:
            wanted = block.code.split()
            assert self.printed.split()[-len(wanted) :] == wanted, f"printed is:\n{self.printed}"
        elif block.language != "text" and block.left_out != []:
            run = {"python": self.run_python, "bash": self.run_bash}[block.language]
            data = str(self.folder / "data")
            run(re.sub(r"(?<![\w.])/data\b", shlex.quote(data) if run == self.run_bash else data, block.code), block)

    def run_python(self, code: str, block: Block) -> None:
        file = Path(block.file or f"block_{block.line}.py")
        if not (block.file or block.is_config):
            exec(compile(code, str(block), "exec"), self.names)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code if "_base_" in code or not block.is_config else f"_base_ = 'my_config.py'\n{code}")
        if block.is_config:
            from gcseg.config import load_config

            load_config(file)
        else:
            import_module(".".join(file.with_suffix("").parts))

    def run_bash(self, code: str, block: Block) -> None:
        for argv, env in commands(code, self.env):
            if argv == ["END"]:
                self.env = env
            elif not set(block.left_out or ()) & set(argv):
                with self.monkeypatch.context() as patched:
                    for name, value in env.items():
                        patched.setenv(name, value)
                    self.execute(argv)

    def execute(self, argv: list[str]) -> None:
        words = of_gcseg(argv) if argv[0] in ("gcseg", "python") else None
        assert words, f"{argv} is not run: say so by <!-- not run ({argv[0]}): reason -->"
        past_runs.forget()
        for command, options in SHORTER.items():
            if command.split() == words[: len(command.split())]:
                words = [*words, *options.split()]
        allowed = {0, 1} if MAY_FIND_NOTHING & set(words) else {0}
        assert (code := call(words)) in allowed, f"{' '.join(argv)}: exit code {code}"
