"""Write configs/context: the ablations of the GCNet paper, on segmentation.

A recipe is a small difference to the plain FCN of its data set. Its settings give its name, its text, and its place in
the tables of configs/context/README.md; a test writes them all again and compares.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "context"
R50, R18, DEMO = (
    "r50-d8{}_4xb2-40k_cityscapes-512x1024",
    "r18-d8{}_1xb8-300_camvid-240x320",
    "r18-d8{}_1xb8-1200_demo-128x128",
)
HEADS = {"fcn": "FCNHead", "senet": "SEHead", "snlnet": "SNLHead", "gcnet": "GCHead", "nlnet": "NLHead"}
FUSIONS = {"scale": '("channel_mul",)', "both": '("channel_add", "channel_mul")'}
KINDS = {"nl": "NL", "snl": "SNL", "gcb": "GC"}


@dataclass(frozen=True)
class Block:
    """A context block in the backbone.

    Attributes:
        kind: ``"nl"``, ``"snl"``, or ``"gcb"``, which alone has the next four.
        ratio: r; the transform has C / r channels inside.
        layer_norm: in the transform.
        pooling: ``"att"`` or ``"avg"``.
        fusion: ``"add"``, ``"scale"`` or ``"both"``.
        stages: the stages that have it, of 2 to 5, as the paper counts.
        one: before the last residual block of each stage alone, not in all of them.
        position: in the residual block.
    """

    kind: str = "gcb"
    ratio: int = 16
    layer_norm: bool = True
    pooling: str = "att"
    fusion: str = "add"
    stages: tuple[int, ...] = (3, 4, 5)
    one: bool = False
    position: str = "after_conv3"

    @property
    def tag(self) -> str:
        """The block in a file name; what is as usual is not said."""
        parts = [self.kind]
        if self.kind == "gcb":
            parts += [f"r{self.ratio}"] + ["noln"] * (not self.layer_norm)
            parts += ["avg"] * (self.pooling == "avg") + [self.fusion] * (self.fusion != "add")
        parts += [f"c{stage}" for stage in sorted({self.stages[0], self.stages[-1]})] + ["one"] * self.one
        parts += [self.position.replace("_", "-")] * (self.position != "after_conv3")
        return "-" + "-".join(parts)

    @property
    def words(self) -> str:
        """The block in a sentence."""
        text = KINDS[self.kind]
        if self.kind == "gcb":
            pooling = {"att": "attention", "avg": "average"}[self.pooling]
            fusion = {"add": "addition", "scale": "scaling", "both": "scaling and addition"}[self.fusion]
            norm = "" if self.layer_norm else " without layer norm"
            text += f", ratio 1/{self.ratio}{norm}, {pooling} pooling, {fusion},"
        stages = f"c{self.stages[0]}" + (f" to c{self.stages[-1]}" if len(self.stages) > 1 else "")
        where = "before the last block" if self.one else "in every block"
        place = "after the addition" if self.position == "after_add" else f"after convolution {self.position[-1]}"
        return f"{text} {where} of {stages}, {place}"

    @property
    def plugin(self) -> str:
        """The block as an entry of the backbone's ``plugins``."""
        options = {"nl": ['type="NonLocal2d"'], "snl": ['type="SimplifiedNonLocal"']}.get(self.kind)
        if self.kind == "gcb" and self.layer_norm:
            options = ['type="ContextBlock"', f"ratio=1 / {self.ratio}"]
            options += [f'pooling_type="{self.pooling}"'] * (self.pooling != "att")
            options += [f"fusion_types={FUSIONS[self.fusion]}"] if self.fusion in FUSIONS else []
        elif self.kind == "gcb":
            options = ['type="GeneralContext"', f"ratio=1 / {self.ratio}", "layer_norm=False"]
        stages = ", ".join(str(stage in self.stages) for stage in range(2, 6))
        lines = [f"cfg=dict({', '.join(options)}),"]
        if len(lines[0]) > 104:
            lines = ["cfg=dict(", *(f"    {option}," for option in options), "),"]
        lines += [f"stages=({stages}),"] + ["blocks=(-2,),"] * self.one + [f'position="{self.position}",']
        return "".join(f"{' ' * 16}{line}\n" for line in lines)


@dataclass(frozen=True)
class Recipe:
    """A training: data and schedule, the head, and perhaps a block in the backbone."""

    run: str = R50
    head: str = "fcn"
    block: Block | None = None

    @property
    def name(self) -> str:
        """The file, without its suffix."""
        return f"{self.head}_{self.run.format(self.block.tag if self.block else '')}"

    @property
    def words(self) -> str:
        """What it is, for people."""
        if self.block:
            return self.block.words
        return "FCNHead: no context" if self.head == "fcn" else f"{HEADS[self.head]}, no block in the backbone"

    @property
    def link(self) -> str:
        """The file from configs/context; the published recipe and the demo have theirs elsewhere already."""
        if self.head == "gcnet" and self.run != R18:
            return f"../{'gcnet' if self.run == R50 else 'demo'}/{self.name}.py"
        return f"{self.name}.py"

    @property
    def text(self) -> str:
        """The file."""
        if self.run == DEMO or (self.head == "fcn" and not self.block):
            return f'"""{self.words}."""\n\n{_whole_head(self)}'
        change = f'model = dict(decode_head=dict(type="{HEADS[self.head]}"))\n'
        if self.block:
            change = BACKBONE.format(plugin=self.block.plugin)
        return f'"""{self.words}."""\n\n_base_ = "./{Recipe(self.run).name}.py"\n{change}'


BACKBONE = """model = dict(
    backbone=dict(
        plugins=[
            dict(
{plugin}            ),
        ],
    ),
)
"""
HEAD = """_base_ = "../{base}.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="{head}",
        in_index=3,
        in_channels={in_channels},
        channels={channels},
        num_classes={classes},
        norm_cfg=_base_.norm_cfg,
    ),
)
"""
SCHEDULE = """train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=1e-4, begin=50, end=300, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
"""


def _whole_head(recipe: Recipe) -> str:
    """The text of the recipe of a data set that the others of it build on: another head in a published file."""
    base = {R50: f"gcnet/gcnet_{R50}", R18: "camvid/gcnet_r18-d8_1xb8-1k_camvid-240x320", DEMO: f"demo/gcnet_{DEMO}"}
    in_channels, channels, classes = {R50: (2048, 512, 19), R18: (512, 128, 11), DEMO: (192, 64, 9)}[recipe.run]
    head = dict(head=HEADS[recipe.head], in_channels=in_channels, channels=channels, classes=classes)
    return HEAD.format(base=base[recipe.run].format(""), **head) + SCHEDULE * (recipe.run == R18)


GC = Block()
ONE = Block(stages=(4,), one=True, position="after_add")


def _in_backbone(*blocks: Block) -> list[Recipe]:
    return [Recipe(block=block) for block in blocks]


TABLES: dict[str, list[Recipe]] = {
    "Block: NL, SNL or GC at one place, SNL or GC everywhere (a)": [
        Recipe(),
        *_in_backbone(replace(ONE, kind="nl"), replace(ONE, kind="snl"), ONE, replace(GC, kind="snl"), GC),
    ],
    "Position in the residual block (b)": [
        Recipe(),
        *_in_backbone(*(replace(GC, position=f"after_{place}") for place in ("conv1", "conv2", "conv3", "add"))),
    ],
    "Stages (c)": [
        Recipe(),
        *_in_backbone(*(replace(GC, stages=stages) for stages in ((3,), (4,), (5,), (3, 4, 5)))),
    ],
    "Transform: linear, bottleneck, bottleneck with layer normalisation (d)": [
        Recipe(),
        *_in_backbone(replace(GC, kind="snl"), replace(GC, layer_norm=False), GC),
    ],
    "Ratio of the bottleneck (e)": [
        Recipe(),
        *_in_backbone(*(replace(GC, ratio=ratio) for ratio in (4, 8, 16, 32))),
    ],
    "Pooling and fusion (f)": [
        Recipe(),
        *_in_backbone(
            *(replace(GC, pooling=pooling, fusion=fusion) for pooling in ("att", "avg") for fusion in ("add", *FUSIONS))
        ),
    ],
    "The block in the decode head": [Recipe(head=head) for head in HEADS],
    "The block in the decode head, CamVid from random weights": [Recipe(R18, head) for head in HEADS],
    "Attention maps on the demo data": [Recipe(DEMO, "nlnet"), Recipe(DEMO, "gcnet")],
}

README = """# Context ablations

The ablations of Cao et al. 2019 ([arXiv:1904.11492](https://arxiv.org/abs/1904.11492), table 1) on segmentation, and
the five heads on CamVid. All but the last three tables have the FCN head and the block in the backbone. Where one thing
varies, the rest stays: GC with ratio 1/16 after the third convolution of every residual block of c3 to c5. A recipe
that belongs to several tables exists once.

`tools/misc/write_context_recipes.py` writes these files; change the settings there and run it again. A name reads:
head, backbone, block (`gcb` is GC, with its ratio; `noln`, `avg`, `scale`, `both` say what differs from the published
one), stages, `one` for before the last residual block alone, position unless it is after the third convolution, GPUs x
images per GPU, iterations, data set, crop. [Costs and results](../../docs/context_ablations.md).
"""


def written() -> list[Recipe]:
    """The recipes that have a file in configs/context, each once, in the order of the tables."""
    found = dict.fromkeys(recipe for table in TABLES.values() for recipe in table)
    return [recipe for recipe in found if not recipe.link.startswith("..")]


def files() -> dict[str, str]:
    """Name and text of every file of configs/context."""
    readme = README
    for title, table in TABLES.items():
        readme += f"\n## {title}\n\n| what | recipe |\n|---|---|\n"
        readme += "".join(f"| {recipe.words} | [{recipe.name}]({recipe.link}) |\n" for recipe in table)
    return {"README.md": readme, **{f"{recipe.name}.py": recipe.text for recipe in written()}}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to (default configs/context)")
    args = parser.parse_args(argv)
    texts = files()
    args.out.mkdir(parents=True, exist_ok=True)
    for old in set(args.out.glob("*.py")) - {args.out / name for name in texts}:
        old.unlink()
    for name, text in texts.items():
        (args.out / name).write_text(text, encoding="utf-8")
    print(f"{len(texts) - 1} recipes in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
