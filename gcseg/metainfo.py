"""Class names and palettes: the only copy.

Everything else receives them as arguments (a data set's ``METAINFO``, a checkpoint's ``dataset_meta``). Colours are
RGB, 0 to 255, in the order of the classes.
"""

from __future__ import annotations

from typing import TypedDict

from gcseg.utils.errors import DataError
from gcseg.utils.names import unknown_name_message


class MetaInfo(TypedDict):
    """Classes of a data set and one RGB colour for each."""

    classes: tuple[str, ...]
    palette: list[list[int]]


# fmt: off
#: Cityscapes (Cordts et al. 2016): the 19 evaluated classes by train id; 255 in the files is void.
CITYSCAPES: MetaInfo = {
    "classes": (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    "palette": [
        [128, 64, 128], [244, 35, 232], [70, 70, 70], [102, 102, 156], [190, 153, 153], [153, 153, 153],
        [250, 170, 30], [220, 220, 0], [107, 142, 35], [152, 251, 152], [70, 130, 180], [220, 20, 60], [255, 0, 0],
        [0, 0, 142], [0, 0, 70], [0, 60, 100], [0, 80, 100], [0, 0, 230], [119, 11, 32],
    ],
}

#: Cityscapes names by label id, as the data set publishes them; those that are no evaluated class are ignored.
CITYSCAPES_LABELS: tuple[str, ...] = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road",
    "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole",
    "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck",
    "bus", "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip

#: ADE20K, SceneParse150 (Zhou et al. 2017). The files hold 0 for "other" and 1 to 150 for these classes.
ADE20K: MetaInfo = {
    "classes": (
        "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed ", "windowpane", "grass", "cabinet",
        "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
        "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
        "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
        "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand",
        "path", "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge",
        "bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove",
        "palm", "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus",
        "towel", "light", "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television receiver",
        "airplane", "dirt track", "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet",
        "poster", "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything",
        "swimming pool", "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven",
        "ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher",
        "screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan", "pier",
        "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock", "flag",
    ),
    "palette": [
        [120, 120, 120], [180, 120, 120], [6, 230, 230], [80, 50, 50], [4, 200, 3], [120, 120, 80], [140, 140, 140],
        [204, 5, 255], [230, 230, 230], [4, 250, 7], [224, 5, 255], [235, 255, 7], [150, 5, 61], [120, 120, 70],
        [8, 255, 51], [255, 6, 82], [143, 255, 140], [204, 255, 4], [255, 51, 7], [204, 70, 3], [0, 102, 200],
        [61, 230, 250], [255, 6, 51], [11, 102, 255], [255, 7, 71], [255, 9, 224], [9, 7, 230], [220, 220, 220],
        [255, 9, 92], [112, 9, 255], [8, 255, 214], [7, 255, 224], [255, 184, 6], [10, 255, 71], [255, 41, 10],
        [7, 255, 255], [224, 255, 8], [102, 8, 255], [255, 61, 6], [255, 194, 7], [255, 122, 8], [0, 255, 20],
        [255, 8, 41], [255, 5, 153], [6, 51, 255], [235, 12, 255], [160, 150, 20], [0, 163, 255], [140, 140, 140],
        [250, 10, 15], [20, 255, 0], [31, 255, 0], [255, 31, 0], [255, 224, 0], [153, 255, 0], [0, 0, 255],
        [255, 71, 0], [0, 235, 255], [0, 173, 255], [31, 0, 255], [11, 200, 200], [255, 82, 0], [0, 255, 245],
        [0, 61, 255], [0, 255, 112], [0, 255, 133], [255, 0, 0], [255, 163, 0], [255, 102, 0], [194, 255, 0],
        [0, 143, 255], [51, 255, 0], [0, 82, 255], [0, 255, 41], [0, 255, 173], [10, 0, 255], [173, 255, 0],
        [0, 255, 153], [255, 92, 0], [255, 0, 255], [255, 0, 245], [255, 0, 102], [255, 173, 0], [255, 0, 20],
        [255, 184, 184], [0, 31, 255], [0, 255, 61], [0, 71, 255], [255, 0, 204], [0, 255, 194], [0, 255, 82],
        [0, 10, 255], [0, 112, 255], [51, 0, 255], [0, 194, 255], [0, 122, 255], [0, 255, 163], [255, 153, 0],
        [0, 255, 10], [255, 112, 0], [143, 255, 0], [82, 0, 255], [163, 255, 0], [255, 235, 0], [8, 184, 170],
        [133, 0, 255], [0, 255, 92], [184, 0, 255], [255, 0, 31], [0, 184, 255], [0, 214, 255], [255, 0, 112],
        [92, 255, 0], [0, 224, 255], [112, 224, 255], [70, 184, 160], [163, 0, 255], [153, 0, 255], [71, 255, 0],
        [255, 0, 163], [255, 204, 0], [255, 0, 143], [0, 255, 235], [133, 255, 0], [255, 0, 235], [245, 0, 255],
        [255, 0, 122], [255, 245, 0], [10, 190, 212], [214, 255, 0], [0, 204, 255], [20, 0, 255], [255, 255, 0],
        [0, 153, 255], [0, 41, 255], [0, 255, 204], [41, 0, 255], [41, 255, 0], [173, 0, 255], [0, 245, 255],
        [71, 0, 255], [122, 0, 255], [0, 255, 184], [0, 92, 255], [184, 255, 0], [0, 133, 255], [255, 214, 0],
        [25, 194, 194], [102, 255, 0], [92, 0, 255],
    ],
}

#: Pascal VOC 2012 (Everingham et al. 2015): 20 objects and background; 255 in the files is the border.
PASCAL_VOC: MetaInfo = {
    "classes": (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    "palette": [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128],
        [128, 128, 128], [64, 0, 0], [192, 0, 0], [64, 128, 0], [192, 128, 0], [64, 0, 128], [192, 0, 128],
        [64, 128, 128], [192, 128, 128], [0, 64, 0], [128, 64, 0], [0, 192, 0], [128, 192, 0], [0, 64, 128],
    ],
}

#: CamVid (Brostow et al. 2009) in the 11-class version of the SegNet papers; 11 in the files is unlabelled.
CAMVID: MetaInfo = {
    "classes": (
        "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian",
        "bicyclist",
    ),
    "palette": [
        [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0], [192, 128, 128],
        [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192],
    ],
}
# fmt: on

_DEMO_CLASSES = ("road", "sidewalk", "building", "wall", "pole", "vegetation", "sky", "person", "car")

#: The demo data set: rendered street scenes in Cityscapes layout, with these of the Cityscapes classes.
DEMO: MetaInfo = {
    "classes": _DEMO_CLASSES,
    "palette": [list(CITYSCAPES["palette"][CITYSCAPES["classes"].index(name)]) for name in _DEMO_CLASSES],
}

_BY_NAME: dict[str, MetaInfo] = {
    "cityscapes": CITYSCAPES,
    "ade20k": ADE20K,
    "pascal_voc": PASCAL_VOC,
    "camvid": CAMVID,
    "demo": DEMO,
}

_ALIASES: dict[str, str] = {
    "city": "cityscapes",
    "ade": "ade20k",
    "voc": "pascal_voc",
    "voc12": "pascal_voc",
    "voc12aug": "pascal_voc",
    "voc2012": "pascal_voc",
    "pascalvoc": "pascal_voc",
}


def get_metainfo(dataset: str) -> MetaInfo:
    """Classes and palette of a known data set.

    Args:
        dataset: its name or an alias, such as ``"cityscapes"``, ``"ade"``, ``"voc12aug"``; case does not matter.

    Returns:
        A copy that may be changed.

    Raises:
        TypeError: ``dataset`` is no string.
        DataError: the name is not known.
    """
    if not isinstance(dataset, str):
        raise TypeError(f"get_metainfo: the name of a data set is a str, received {type(dataset).__name__}")
    folded = dataset.lower().replace("-", "_")
    found = _BY_NAME.get(_ALIASES.get(folded, folded))
    if found is None:
        known = [*_BY_NAME, *_ALIASES]
        remedy = "Classes of another data set are given by metainfo=dict(classes=..., palette=...)."
        raise DataError(unknown_name_message("data set", dataset, known, remedy))
    return {"classes": found["classes"], "palette": [list(colour) for colour in found["palette"]]}


def get_classes(dataset: str) -> list[str]:
    """Class names of a known data set, in the order of their labels; see :func:`get_metainfo`."""
    return list(get_metainfo(dataset)["classes"])


def get_palette(dataset: str) -> list[list[int]]:
    """RGB colours of a known data set, one per class; see :func:`get_metainfo`."""
    return get_metainfo(dataset)["palette"]
