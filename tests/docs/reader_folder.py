"""What a reader of the documentation has in the folder: data, photographs, a config, a trained network; all of it tiny.

``my_config.py`` is the published Cityscapes recipe, ``work_dirs/my_config`` its training, and ``weights.pth`` the last
checkpoint of that. The data sets are scenes of the demo.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

SPLITS = {"train": 4, "val": 2}
WIDTHS = {"base_channels", "stem_channels", "in_channels", "channels"}
SIZES = {"scale", "crop_size", "size"}
CONFIG = '_base_ = "{{$GCSEG_CONFIGS:}}/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"\n'


def smaller(node, key=""):
    """An eighth of all widths and lengths of a config, ResNet-18 for ResNet-50, and no other processes."""
    if isinstance(node, dict):
        if key == "backbone":
            node = {"base_channels": 64, "stem_channels": 64, **node}
        node = {k: smaller(v, k) for k, v in node.items()}
        backbone = node.get("backbone") or {}
        if backbone.get("depth") == 50 and not backbone.get("plugins"):
            backbone["depth"] = 18
            for head in node.keys() & {"decode_head", "auxiliary_head"}:
                wide = node[head]["in_channels"]  # a block of ResNet-18 has a fourth of it
                node[head].update({k: v // 4 for k, v in node[head].items() if k in WIDTHS and v == wide})
        return node
    if key in SIZES and isinstance(node, list | tuple) and len(node) == 2:
        return tuple(n // 8 for n in node)
    if isinstance(node, list | tuple):
        return [smaller(v) for v in node]
    if key in WIDTHS and isinstance(node, int) and node >= 16:
        return node // 8
    return {"pretrained": None, "num_workers": 0, "persistent_workers": False}.get(key, node)


@contextmanager
def tiny():
    """Configs are read :func:`smaller`, of long trainings the last two iterations are run, and nothing is compiled."""
    import torch

    from gcseg import config
    from gcseg.analysis.context_cost import find_recipes
    from gcseg.engine.train_loops import IterBasedTrainLoop

    read, make = config._read, IterBasedTrainLoop.__init__

    def read_smaller(path):
        found = read(path)
        for key, value in found.items():
            found[key] = smaller(value, key)
        return found

    def near_the_end(self, *args, **kwargs):
        make(self, *args, **kwargs)
        if self._max_iters >= 100:
            self._iter = self._max_iters - 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "_read", read_smaller)
        patch.setattr(IterBasedTrainLoop, "__init__", near_the_end)
        patch.setattr(find_recipes, "__defaults__", (("context/*_r50-d8-gcb-r16-c3_*", "context/senet_r50*"),))  # of 25
        patch.setattr(torch, "compile", lambda model=None, **_: model)
        # Four fifths of the time of a tiny training: the layout of the config's text, eight times, and collections.
        for place in ("mmengine.config.config.FormatCode", "yapf.yapflib.yapf_api.FormatCode"):  # onedl's is the second
            patch.setattr(place, lambda text, **_: (text, True), raising=False)
        patch.setattr(gc, "collect", lambda *_: 0)
        yield


@contextmanager
def reading(folder: Path, cache: Path):
    """Stand in the folder as a user does, on a machine with bfloat16; leave the process as it was."""
    from gcseg.datasets import demo
    from gcseg.engine import hardware
    from gcseg.registry import MODELS

    cpuinfo = cache / "cpuinfo"
    cache.mkdir(exist_ok=True)
    cpuinfo.write_text("flags : avx512_bf16\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for name in [name for name in os.environ if name.startswith("GCSEG_")]:
            patch.delenv(name)
        patch.setenv("GCSEG_DATA", str(cache))
        patch.setattr(hardware, "_CPUINFO", cpuinfo)
        for split, count in SPLITS.items():
            patch.setitem(demo.SPLITS, split, count)
        try:
            yield patch
        finally:
            written = [n for n, m in sys.modules.items() if str(getattr(m, "__file__", None)).startswith(f"{folder}/")]
            for name, cls in list(MODELS.module_dict.items()):
                if cls.__module__ in written:
                    del MODELS.module_dict[name]
            for name in written:
                del sys.modules[name]


def prepare(folder: Path) -> Path:
    """Fill the folder."""
    from gcseg.apis.train import train
    from gcseg.datasets.demo import ensure_demo

    streets = ensure_demo(folder / "data" / "cityscapes", SPLITS)
    for split in SPLITS:
        _other_layouts(folder, split, sorted((streets / "leftImg8bit" / split).rglob("*.png")))
    (folder / "data/cracks/classes.txt").write_text("sound\ncrack\n")
    for number, file in enumerate(sorted((streets / "leftImg8bit" / "val").rglob("*.png"))):
        _annotate(folder, file, f"{number}")
    _voc(folder / "data" / "VOCdevkit")
    shutil.copy(folder / "photos" / "0.jpg", folder / "street.jpg")
    _film(folder / "drive.mp4", cv2.imread(str(folder / "street.jpg")))
    (folder / "configs" / "mine").mkdir(parents=True)
    (folder / "configs" / "_base_").symlink_to(Path(__file__).parents[2] / "configs" / "_base_")
    (folder / "my_config.py").write_text(CONFIG)
    with reading(folder, folder / "cache"), tiny():
        train("my_config.py")
    shutil.copy(folder / "work_dirs/my_config/iter_40000.pth", folder / "weights.pth")
    return folder


def _other_layouts(folder: Path, split: str, images: list[Path]) -> None:
    """The scenes as CamVid and as a folder of one's own, and the polygons of Cityscapes."""
    for number, file in enumerate(images):
        label = Path(str(file).replace("leftImg8bit", "gtFine").replace(".png", "_labelTrainIds.png"))
        label.with_name(label.name.replace("labelTrainIds.png", "polygons.json")).write_text(
            json.dumps(dict(imgHeight=160, imgWidth=320, objects=[dict(label="road", polygon=CORNERS)]))
        )
        values = np.asarray(Image.open(label))
        for data, kind, content in (("camvid", "annotations", values), ("cracks", "labels", values % 2)):
            for name in ("images", kind):
                (folder / "data" / data / name / split).mkdir(parents=True, exist_ok=True)
            Image.open(file).save(folder / "data" / data / "images" / split / f"{number}.jpg")
            Image.fromarray(content).save(folder / "data" / data / kind / split / f"{number}.png")


CORNERS = [[0, 0], [150, 0], [150, 90], [0, 90]]


def _annotate(folder: Path, file: Path, stem: str) -> None:
    """A photograph with its LabelMe file, its mask in colours, and the COCO file of all."""
    (folder / "photos").mkdir(exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    Image.open(file).save(folder / "photos" / f"{stem}.jpg")
    shape = dict(label="crack", points=CORNERS, shape_type="polygon")
    labelme = dict(imagePath=f"{stem}.jpg", imageWidth=320, imageHeight=160, shapes=[shape])
    (folder / "photos" / f"{stem}.json").write_text(json.dumps(labelme))
    Image.new("RGB", (320, 160), (128, 64, 128)).save(folder / "masks" / f"{stem}.png")
    (folder / "colours.txt").write_text("road 128 64 128\nsky 70 130 180\n")
    polygon = [n for corner in CORNERS for n in corner]
    coco = dict(
        images=[dict(id=int(stem), file_name=f"{stem}.jpg", width=320, height=160)],
        categories=[dict(id=1, name="crack")],
        annotations=[dict(image_id=int(stem), category_id=1, area=1, segmentation=[polygon])],
    )
    (folder / "instances.json").write_text(json.dumps(coco))


def _voc(folder: Path) -> None:
    """The lists of VOC 2012, and SBD; one image in each split of both."""
    lists, aug = folder / "VOC2012/ImageSets/Segmentation", folder / "VOCaug/dataset"
    lists.mkdir(parents=True)
    (aug / "cls").mkdir(parents=True)
    for number, split in enumerate(SPLITS):
        (lists / f"{split}.txt").write_text(f"voc{number}\n")
        (aug / f"{split}.txt").write_text(f"sbd{number}\n")
        savemat(aug / "cls" / f"sbd{number}.mat", {"GTcls": {"Segmentation": np.ones((4, 6), np.uint8)}})


def _film(file: Path, frame: np.ndarray) -> None:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 5.0, frame.shape[1::-1])
    for _ in range(2):
        writer.write(frame)
    writer.release()
