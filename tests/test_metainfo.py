"""Names and colours."""

from __future__ import annotations

import hashlib
import json

import pytest

from gcseg import metainfo
from gcseg.utils import DataError, get_classes, get_palette

# sha256 of the JSON of [classes, palette] as mmsegmentation has them
KNOWN = {
    "CITYSCAPES": (19, "fdc2c09f612a02c0"),
    "ADE20K": (150, "ea88dadc3d26eb56"),
    "PASCAL_VOC": (21, "3d61c831cd0012d4"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_facts(name):
    entry = getattr(metainfo, name)
    number, digest = KNOWN[name]
    assert len(entry["classes"]) == len(entry["palette"]) == number
    text = json.dumps([list(entry["classes"]), entry["palette"]])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", ["CITYSCAPES", "ADE20K", "PASCAL_VOC", "CAMVID", "DEMO"])
def test_every_entry_is_sound(name):
    entry = getattr(metainfo, name)
    assert len(set(entry["classes"])) == len(entry["classes"]) == len(entry["palette"])
    assert all(len(colour) == 3 and all(0 <= level <= 255 for level in colour) for colour in entry["palette"])


def test_camvid_labels():
    assert metainfo.CAMVID["classes"][0] == "sky" and metainfo.CAMVID["classes"][10] == "bicyclist"
    assert len(metainfo.CAMVID["classes"]) == 11


@pytest.mark.parametrize(
    ("alias", "entry"),
    [
        ("cityscapes", "CITYSCAPES"),
        ("ade", "ADE20K"),
        ("ADE20K", "ADE20K"),
        ("voc12aug", "PASCAL_VOC"),
        ("camvid", "CAMVID"),
    ],
)
def test_by_name(alias, entry):
    assert get_classes(alias) == list(getattr(metainfo, entry)["classes"])
    assert get_palette(alias) == getattr(metainfo, entry)["palette"]


def test_answers_are_copies():
    get_palette("camvid")[0][0] = 77
    assert get_palette("camvid")[0][0] != 77


def test_errors():
    with pytest.raises(DataError, match="unknown data set 'cityscape'. Did you mean 'cityscapes'"):
        get_classes("cityscape")
    with pytest.raises(TypeError, match="int"):
        get_palette(3)
