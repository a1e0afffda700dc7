import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from gcseg.apis.images import as_input, build_preparation, find_test_pipeline, inner_dataset, list_inputs, photograph
from gcseg.utils import ConfigError, DataError

LOAD, LABEL, PACK = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")


def config(pipeline):
    return Config(dict(test_dataloader=dict(dataset=dict(type="X", pipeline=pipeline))))


def test_every_kind_of_image_gives_the_same_pixels(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    prepare = build_preparation(config([LOAD, LABEL, PACK]))
    expected = rgb[:, :, ::-1].transpose(2, 0, 1)
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(rgb), rgb[:, :, ::-1]):
        np.testing.assert_array_equal(prepare(image)["inputs"].numpy(), expected)
        np.testing.assert_array_equal(photograph(image), rgb)


def test_grey_becomes_three_channels():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for image in (grey, grey[:, :, None]):
        np.testing.assert_array_equal(as_input(image), np.stack([grey] * 3, -1))


def test_other_channels_are_for_models_of_theirs_and_painted_by_the_first():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    assert as_input(image) is image
    np.testing.assert_array_equal(photograph(image), image[:, :, 2::-1])
    np.testing.assert_array_equal(photograph(image[:, :, :2]), np.stack([image[:, :, 0]] * 3, -1))
    with pytest.raises(DataError, match=r"\(4, 50, 60\); .*transpose"):
        as_input(np.zeros((4, 50, 60), np.uint8))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 20, 30), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((2, 2, 3)),
        np.zeros((0, 2, 3), np.uint8),
        *(Image.fromarray(np.zeros((2, 2), dtype)) for dtype in (np.uint16, np.int32, np.float32)),
    ],
)
def test_wrong_arrays_say_what_they_are(image):
    with pytest.raises(DataError, match="received"):
        as_input(image)


def test_folders_lists_and_mixtures(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    array = np.zeros((2, 2, 3), np.uint8)
    listed = list_inputs([tmp_path, array])
    assert listed[:2] == [str(tmp_path / "a.JPG"), str(tmp_path / "b.png")]
    assert listed[2] is array
    assert list_inputs("x.png") == ["x.png"]
    with pytest.raises(TypeError, match="int"):
        list_inputs(3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        list_inputs(tmp_path / "empty")


def test_pipeline_without_labels_and_the_config_unchanged():
    cfg = config([LOAD, LABEL, PACK])
    assert [t["type"] for t in find_test_pipeline(cfg)] == ["LoadImageFromFile", "PackSegInputs"]
    assert len(cfg.test_dataloader.dataset.pipeline) == 3
    build_preparation(cfg)
    assert cfg.test_dataloader.dataset.pipeline[0].type == "LoadImageFromFile"
    with pytest.raises(ConfigError, match="no LoadImageFromFile"):
        find_test_pipeline(config([PACK]))
    with pytest.raises(ConfigError, match="test_dataloader"):
        find_test_pipeline(Config(dict(a=1)))


def test_inner_dataset_looks_through_wrappers():
    inner = dict(type="A")
    assert inner_dataset(dict(type="R", dataset=dict(type="C", datasets=[inner, dict(type="B")]))) is inner


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png"):
        build_preparation(config([LOAD, PACK]))(tmp_path / "gone.png")
