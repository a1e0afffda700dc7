import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from gcseg import cli
from gcseg.apis import SegInferencer, init_model
from gcseg.apis.output_files import output_names
from gcseg.apis.predict import predict, predict_by_size
from gcseg.apis.sources import find_sources
from gcseg.utils import ConfigError, DataError

SIZES = {"a.png": (24, 48), "b.png": (40, 40), "sub/a.png": (24, 48), "sub/deep/c.jpg": (24, 48)}


def pixels(seed, size=(24, 48)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    for i, (name, size) in enumerate(SIZES.items()):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i, size)).save(file)
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def inferencer(tiny_config, tiny_checkpoint):
    return SegInferencer(tiny_config, tiny_checkpoint, device="cpu", show_progress=False)


def run(*arguments):
    return cli.main(["predict", *map(str, arguments)])


def written(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_a_folder_of_mixed_sizes_with_a_bad_file(photos, tiny_checkpoint, inferencer, tmp_path, capsys):
    (photos / "bad.jpg").write_bytes(b"no image")
    (photos / "notes.txt").write_text("not asked for")
    out = tmp_path / "out"
    save = ["overlay", "index", "palette", "probs"]
    options = ["--recursive", "--batch-size", "2", "--device", "cpu", "--opacity", "1", "--no-labels", "--json"]
    assert run(tiny_checkpoint, photos, "--out", out, "--save", *save, *options) == 1
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert len(lines) == 5 and {Path(line["input"]).name for line in lines if line["error"]} == {"bad.jpg"}
    assert "failed:" in printed.err and "bad.jpg" in printed.err and "no image" in printed.err
    names = ["a", "b", "sub/a", "sub/deep/c"]
    kinds = {"index": "png", "overlay": "jpg", "palette": "png", "probs": "npz"}
    assert written(out) == [f"{kind}/{name}.{kinds[kind]}" for kind in kinds for name in names]

    palette = np.asarray(inferencer.palette, dtype=np.uint8)
    for name, (file, size) in zip(names, SIZES.items(), strict=True):
        expected = inferencer(photos / file)["predictions"]
        assert expected.shape == size
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"index/{name}.png")), expected)
        coloured = Image.open(out / f"palette/{name}.png")
        np.testing.assert_array_equal(np.asarray(coloured), expected)
        np.testing.assert_array_equal(np.asarray(coloured.convert("RGB")), palette[expected])
        painted = np.asarray(Image.open(out / f"overlay/{name}.jpg")).astype(int)
        assert np.abs(painted - palette[expected]).mean() < 12  # JPEG
        stored = np.load(out / f"probs/{name}.npz")
        assert stored["classes"].tolist() == list(inferencer.classes) and stored["probabilities"].dtype == np.float16
        np.testing.assert_array_equal(stored["probabilities"].argmax(0)[expected == 3], 3)
        np.testing.assert_allclose(stored["probabilities"].astype(float).sum(0), 1, atol=5e-3)
        line = next(line for line in lines if line["input"] == str(photos / file))
        assert line["size"] == list(size) and line["outputs"]["index"] == str(out / f"index/{name}.png")
        assert line["shares"] == pytest.approx(
            {f"name {i}": n / expected.size for i, n in enumerate(np.bincount(expected.ravel())) if n}, abs=1e-6
        )


def test_a_second_run_does_not_take_results_for_inputs(photos, tiny_checkpoint, capsys):
    options = ["--out", photos / "results", "--recursive", "--device", "cpu", "--save", "index"]
    for _ in range(2):
        assert run(tiny_checkpoint, photos, *options) == 0
        assert "4 of 4 files" in capsys.readouterr().out
    assert len(written(photos / "results")) == 4


def test_paths_in_json_are_absolute_however_they_were_given(photos, tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    kinds = ["overlay", "index", "palette", "probs"]
    assert run(tiny_checkpoint, "photos/a.png", "--out", "out", "--save", *kinds, "--device", "cpu", "--json") == 0
    line = json.loads(capsys.readouterr().out)
    assert line["input"] == str(photos / "a.png") and list(line["outputs"]) == [*kinds[1:], "overlay"]
    assert all(file.startswith(f"{photos.parent}/out/") for file in line["outputs"].values())


def test_images_may_lie_in_the_folder_of_results_or_below_it(photos, tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    for out in (".", photos):
        for _ in range(2):  # the second time there are results beside the images
            assert run(tiny_checkpoint, "photos", "--out", out, "--recursive", "--device", "cpu") == 0
            assert "4 of 4 files" in capsys.readouterr().out
    assert run(tiny_checkpoint, "overlay", "--out", ".", "--device", "cpu") == 2
    assert "apart from results in ." in capsys.readouterr().err


def test_random_weights_are_never_predicted_with(photos, tmp_path, capsys):
    own = tmp_path / "own.py"
    own.write_text("_base_ = '{{$GCSEG_CONFIGS:}}/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'\n")
    for model in (own, "gcnet_r18-d8_1xb8-1200_demo-128x128"):
        assert run(model, photos / "a.png", "--out", tmp_path / "o") == 2
        said = capsys.readouterr().err
        assert str(model) in said and "--weights" in said
    assert run("gcnet_r18-d8_1xb8-1200_dmo-128x128", photos / "a.png", "--out", tmp_path / "o") == 2
    assert "no config file" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["/p/x/a.png", "/p/x/b.png"], ["a", "b"]),
        (["/p/x/a.png", "/p/x/a.jpg"], ["a.png", "a.jpg"]),
        (["/p/x/a.png", "/p/y/a.png"], ["x/a", "y/a"]),
        (["/p/x/a.png", "/p/y/a.png", "/p/y/a.jpg"], ["x/a.png", "y/a.png", "y/a.jpg"]),
        (["/p/x/a.png", "/p/x/A.png"], ["a.png", "A.png"]),
        (["/p/x/a.b.png"], ["a.b"]),
    ],
)
def test_names_are_plain_and_distinct_in_any_order(files, names):
    pairs = [(Path(f), Path(f).parent) for f in files]
    assert output_names(pairs) == names
    assert output_names(pairs[::-1]) == names[::-1]


def test_patterns_are_read_in_a_folder_whose_name_looks_like_one(tmp_path, monkeypatch):
    for name in ("p/a.png", "p/sub/b.png", "c.png"):
        file = tmp_path / "photos [1]" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path / "photos [1]")
    for pattern, expected in (("p/*.png", ["a"]), ("p/**/*.png", ["a", "sub/b"]), ("*.png", ["c"])):
        found = find_sources([pattern])
        assert [s.name for s in found] == expected and all(s.file.is_file() and s.file.is_absolute() for s in found)


def test_inputs_are_files_folders_and_patterns(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    assert [s.name for s in find_sources(["photos"])] == ["a", "b"]
    assert [s.name for s in find_sources(["photos/**/*.png"])] == ["a", "b", "sub/a"]
    assert [s.name for s in find_sources(["photos/b.png", "photos", "photos/?.png"])] == ["b", "a"]
    assert [s.name for s in find_sources(["photos/a.png", "photos/sub/a.png"])] == ["a", "sub/a"]
    (photos / "odd[1].png").write_bytes((photos / "a.png").read_bytes())
    assert [s.name for s in find_sources(["photos/odd[1].png"])] == ["odd[1]"]
    for missing in ("photos/z.png", "photos/*.bmp"):
        with pytest.raises(DataError, match="photos/"):
            find_sources(["photos/a.png", missing])
    (photos / "empty" / "x").mkdir(parents=True)
    with pytest.raises(DataError, match="--recursive"):
        find_sources(["photos/empty"])


def test_batches_hold_one_size_and_no_image_waits_long(inferencer, monkeypatch):
    sizes = [(24, 48), (40, 40), (30, 30), (24, 48), (24, 48), (40, 40)] * 3 + [(9, 90)]
    batches, most = [], 0
    original = type(inferencer.model).test_step
    prepared = 0
    done = 0

    def spy(model, batch):
        nonlocal done, most
        most = max(most, prepared - done)
        done += len(batch["inputs"])
        batches.append(len(batch["inputs"]))
        assert len({tuple(image.shape) for image in batch["inputs"]}) == 1
        return original(model, batch)

    def images():
        nonlocal prepared
        for i, size in enumerate(sizes):
            prepared += 1
            yield i, pixels(i, size)

    monkeypatch.setattr(type(inferencer.model), "test_step", spy)
    found = {key: sample for key, _, sample in predict_by_size(inferencer, images(), 3)}
    assert sorted(found) == list(range(len(sizes))) and sum(batches) == len(sizes)
    assert batches.count(3) >= 4 and most <= 12
    for i, size in enumerate(sizes):
        assert found[i].pred_sem_seg.data.shape == (1, *size)


def test_an_image_too_large_for_the_memory_does_not_stop_the_others(inferencer, monkeypatch):
    original = type(inferencer.model).test_step

    def small(model, batch):
        if len(batch["inputs"]) > 1 or any(sample.ori_shape == (40, 80) for sample in batch["data_samples"]):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(model, batch)

    monkeypatch.setattr(type(inferencer.model), "test_step", small)
    images = [(0, pixels(0)), (1, pixels(1, (40, 80))), (2, pixels(2))]  # all 32 x 64 for the network
    found = {key: sample for key, _, sample in predict_by_size(inferencer, images, 3)}
    assert "not enough memory" in str(found[1])
    np.testing.assert_array_equal(found[2].pred_sem_seg.data[0], inferencer(pixels(2))["predictions"])


def test_images_of_other_channels_than_the_models_do_not_stop_the_others(tiny_config, tmp_path):
    cfg = copy.deepcopy(tiny_config)
    cfg.merge_from_dict({"test_dataloader.dataset.pipeline.0.color_type": "unchanged"})
    images = {"grey": pixels(0)[..., 0], "colour": pixels(1), "alpha": np.dstack([pixels(2), pixels(2)[..., :1]])}
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    model = SegInferencer(init_model(cfg, device="cpu"), show_progress=False)
    files = [(name, str(tmp_path / f"{name}.png")) for name in images]
    found = {key: sample for key, _, sample in predict_by_size(model, files, 2)}
    assert found["colour"].pred_sem_seg.data.shape == (1, *images["colour"].shape[:2])
    for name, count in (("grey", 1), ("alpha", 4)):
        assert f"images have {count} channels" in str(found[name])


def test_a_file_that_is_gone_when_it_is_painted_does_not_stop_the_others(
    photos, tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "gcseg.apis.predict.photograph", lambda file: gone(file) if file.name == "b.png" else paint(file)
    )
    found = predict(tiny_checkpoint, [photos], tmp_path / "out", device="cpu", show_progress=False)
    assert [Path(r.input).name for r in found] == ["a.png", "b.png"]
    assert found[0].error is None and found[0].outputs["overlay"] and "gone" in found[1].error


def test_a_full_disk_ends_it(photos, tiny_checkpoint, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gcseg.apis.predict.write_label_map", full)
    with pytest.raises(ConfigError, match="No space left"):
        predict(tiny_checkpoint, [photos], tmp_path / "out", device="cpu", show_progress=False)


def gone(file):
    raise DataError("gone")


def paint(file):
    return np.asarray(Image.open(file))


@pytest.fixture
def video(tmp_path):
    path = str(tmp_path / "drive.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 7.0, (48, 24))
    for i in range(5):
        writer.write(np.full((24, 48, 3), 50 * i, np.uint8))
    writer.release()
    return Path(path)


def test_a_video_gives_a_video_and_a_map_per_frame(video, tiny_checkpoint, inferencer, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    options = ["--out", out, "--batch-size", "2", "--device", "cpu", "--opacity", "1", "--no-labels"]
    assert run(tiny_checkpoint, video, tmp_path / "broken.mp4", *options, "--json", tmp_path / "lines.json") == 1
    assert "1 of 2 files" in capsys.readouterr().out
    assert written(out) == [*(f"index/drive/{i:06d}.png" for i in range(5)), "overlay/drive.mp4"]
    lines = [json.loads(line) for line in (tmp_path / "lines.json").read_text().splitlines()]
    assert lines[0]["frames"] == 5 and lines[0]["size"] == [24, 48]
    assert sum(lines[0]["shares"].values()) == pytest.approx(1, abs=1e-4) and "broken.mp4" in lines[1]["error"]

    frames, painted = cv2.VideoCapture(str(video)), cv2.VideoCapture(str(out / "overlay/drive.mp4"))
    assert painted.get(cv2.CAP_PROP_FPS) == 7 and painted.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    for i in range(5):
        expected = inferencer(frames.read()[1])["predictions"]
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"index/drive/{i:06d}.png")), expected)
        colours = np.asarray(inferencer.palette)[expected]
        assert np.abs(painted.read()[1][:, :, ::-1].astype(int) - colours).mean() < 25  # lossy


def test_what_cannot_be_asked_for(photos, tiny_checkpoint, tmp_path, capsys):
    for options, words in (
        (["--save", "overlays"], "Did you mean 'overlay'"),
        (["--opacity", "2"], "from 0 to 1"),
        (["--batch-size", "0"], "at least 1"),
        (["--weights", "x.pth"], "leave out the weights"),
    ):
        assert run(tiny_checkpoint, photos / "a.png", "--out", tmp_path / "o", *options) == 2
        assert words in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run(tiny_checkpoint, photos / "a.png", "--out", tmp_path / "file") == 2
    assert run(tiny_checkpoint, photos / "a.png", "--out", "") == 2 and "name the folder" in capsys.readouterr().err
    assert run(tiny_checkpoint, "", "--out", tmp_path / "o") == 2 and "without a name" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="nothing to save"):
        predict(tiny_checkpoint, [photos], tmp_path, save=())
