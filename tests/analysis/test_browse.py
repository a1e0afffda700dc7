import numpy as np
import pytest
import torch
from PIL import Image

from gcseg.analysis import browse_dataset
from gcseg.analysis.browse import as_picture
from gcseg.utils import ConfigError, HardwareError


def pictures(files):
    return [np.asarray(Image.open(f).convert("RGB")) for f in files]


def test_pictures_show_what_the_pipeline_yields(tiny_run, tmp_path, run_tool, capsys):
    assert (
        run_tool("browse_dataset", tiny_run, "--out", tmp_path / "v", "--split", "val", "--count", 2, "--opacity", 1)
        == 0
    )
    assert "2 pictures" in capsys.readouterr().out
    files = sorted((tmp_path / "v").iterdir())
    assert [f.name for f in files] == ["000000_p0.png", "000001_p1.png"]
    picture = pictures(files)[0]
    label = np.asarray(Image.open(tiny_run.parent / "ann" / "p0.png"))
    palette = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], *[[0, 0, 0]] * 253], np.uint8)
    height, width = label.shape
    top = next(y for y in range(40) if (picture[y : y + height, -width:] == palette[label]).all())
    photo = np.asarray(Image.open(tiny_run.parent / "img" / "p0.jpg").convert("RGB")).astype(int)
    left = picture[top : top + height, :width].astype(int)
    assert left.shape == photo.shape  # the colours are in the right order, though resized twice
    assert np.abs(left.mean((0, 1)) - photo.mean((0, 1))).max() < 3


def test_the_seed_decides_on_the_augmentation(tiny_run, tmp_path):
    one, same, other = (
        pictures(browse_dataset(tiny_run, tmp_path / name, count=2, repeats=3, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert len(one) == 6 and all((x == y).all() for x, y in zip(one, same, strict=True))
    assert any(x.shape != y.shape or (x != y).any() for x, y in zip(one, other, strict=True))
    assert any(x.shape != one[0].shape or (x != one[0]).any() for x in one[1:3])
    assert len(list((tmp_path / "a").iterdir())) == 6


def test_nothing_is_shown_where_there_is_no_display(tiny_run, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for key in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(HardwareError, match="--out"):
        browse_dataset(tiny_run, show=True)
    with pytest.raises(ConfigError, match="nowhere"):
        browse_dataset(tiny_run)
    with pytest.raises(ConfigError, match="train, val, test"):
        browse_dataset(tiny_run, "x", split="training")


def test_images_of_pipelines_as_pictures():
    image = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    assert as_picture(image, is_rgb=True)[0, 1].tolist() == [1, 5, 9]
    assert as_picture(image, is_rgb=False)[0, 1].tolist() == [9, 5, 1]
    assert as_picture(image.float() / 10, is_rgb=True)[0, 0].tolist() == [0, 0, 1]
    normalised = as_picture(torch.tensor([-2.0, 0.0, 2.0]).reshape(3, 1, 1), is_rgb=True)
    assert normalised[0, 0].tolist() == [0, 128, 255]
    assert as_picture(image[:1], is_rgb=True).shape == (2, 2, 3)
