"""The table of a comparison of costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcseg.analysis.context_cost import Cost
    from gcseg.analysis.cost_timing import Timing


@dataclass(frozen=True)
class CostReport:
    """The costs of several recipes; printed as a Markdown table.

    Attributes:
        setting: how they were measured: shape, batch_size, device, threads, dtype, prepared, torch, repeats.
        costs: one entry per recipe; the others are compared with the first.
    """

    setting: dict[str, Any]
    costs: tuple[Cost, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"setting": self.setting, "costs": [asdict(cost) for cost in self.costs]}

    def __str__(self) -> str:
        first, setting = self.costs[0], self.setting
        header = ["recipe", "params, M", "more, M", "GFLOP", "more, %"]
        rows = []
        for name, cost in zip(_short([cost.name for cost in self.costs]), self.costs, strict=True):
            more = (cost.params - first.params) / 1e6, 100 * (cost.flops / first.flops - 1)
            row = [name, f"{cost.params / 1e6:.2f}", f"{more[0]:+.3f}", f"{cost.flops / 1e9:.2f}", f"{more[1]:+.2f}"]
            rows.append(row + _timing(cost.inference, first.inference) + _timing(cost.training, first.training))
        for timing, words in ((first.inference, "forward"), (first.training, "step")):
            if timing is not None:
                header += [f"{words}, ms", "more, %", "peak, MiB"]
        height, width = setting["shape"]
        text = f"{height} x {width}"
        if first.inference is not None:
            text = (
                f"batches of {setting['batch_size']}, {text}, {setting['dtype']}, {setting['device']}, "
                f"{setting['threads']} threads, torch {setting['torch']}, "
                f"{'' if setting['prepared'] else 'not '}prepared for inference; median of {setting['repeats']} "
                "interleaved repetitions ± half of the distance of the quartiles"
            )
        return f"{_markdown(header, rows)}\n\n{text}. Operations are those of one image, 2 per multiply-add."


def _timing(timing: Timing | None, first: Timing | None) -> list[str]:
    if timing is None or first is None:
        return []
    return [
        f"{1e3 * timing.median:.1f} ± {1e3 * timing.spread:.1f}",
        f"{100 * timing.relative_to(first):+.1f}",
        f"{timing.peak_bytes / 2**20:.1f}",
    ]


def _short(names: Sequence[str]) -> list[str]:
    """Names without the parts at their ends that all of them have."""
    short = list(names)
    while len(short) > 1 and all("_" in name for name in short) and len({n.rpartition("_")[2] for n in short}) == 1:
        short = [name.rpartition("_")[0] for name in short]
    return short


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table, the first column to the left and the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])])
    return "\n".join([line(header), f"|{rule}|", *map(line, rows)])
