"""The zoo on a server of its own: list, download, verify."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tiny_run
import torch
from PIL import Image

from gcseg import cli
from gcseg.apis import init_model, zoo
from gcseg.apis.test import test as evaluate
from gcseg.utils import ConfigError, WeightsNotFoundError

METAFILE = """
Models:
  - Name: tiny
    Weights: {url}
    Results: {{Dataset: Six pictures, Metrics: {{mIoU: {miou}}}}}
"""


def test_the_sixteen_published_models():
    models = zoo.published_models()
    assert len(models) == 16 and all(model.weights.startswith("https://") for model in models)
    r50 = zoo.published_models(["R50", "cityscapes", "769", "40k"])
    assert [(m.name, m.miou, m.miou_tta) for m in r50] == [("gcnet_r50-d8_4xb2-40k_cityscapes-769x769", 78.12, 80.09)]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A model that scores what its metafile says; and the folder that its server shows."""
    folder = tmp_path_factory.mktemp("zoo")
    config = tiny_run.write(folder)
    torch.manual_seed(0)
    model = init_model(config, device="cpu")
    with torch.no_grad():
        model.decode_head.conv_seg.weight.normal_(std=1)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / "net.pth")
    digest = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()[:8]
    (folder / "net.pth").rename(folder / f"net-{digest}.pth")
    score = evaluate(config, folder / f"net-{digest}.pth", work_dir=folder / "run")["mIoU"]
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/net-{digest}.pth"
    (folder / "metafile.yaml").write_text(METAFILE.format(url=url, miou=score))
    yield folder, config, url, score
    server.shutdown()
    server.server_close()


@pytest.fixture
def in_the_zoo(published, monkeypatch, tmp_path):
    _, config, *_ = published
    monkeypatch.setattr(zoo, "recipes", lambda: {"tiny": config})
    monkeypatch.setattr("gcseg.config.recipes", lambda: {"tiny": config})
    monkeypatch.setenv("GCSEG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return published


def test_download_and_verify(in_the_zoo, tmp_path, capsys):
    _, _, url, score = in_the_zoo
    assert cli.main(["zoo", "download", "ti", "--folder", str(tmp_path / "here")]) == 0
    assert [f.name for f in (tmp_path / "here").iterdir() if f.suffix == ".pth"] == [url.rpartition("/")[2]]
    capsys.readouterr()
    arguments = ["zoo", "verify", "tiny", "--work-dir", str(tmp_path / "run"), "--json", str(tmp_path / "found.json")]
    assert cli.main(arguments) == 0
    assert f"mIoU {score:.2f}, published {score:.2f}: agrees" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["agrees"] is True


def test_a_score_that_is_not_the_published_one_is_told(in_the_zoo, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_run.write(tmp_path / "data")
    for file in (tmp_path / "data" / "ann").iterdir():  # other labels, other scores
        Image.new("L", Image.open(file).size, 2).save(file)
    assert cli.main(["zoo", "verify", "tiny", "--data", str(tmp_path / "data")]) == 1
    assert "DIFFERS by more than 0.1" in capsys.readouterr().out


def test_errors(in_the_zoo):
    with pytest.raises(ConfigError, match=r"'tinny'.*'tiny'"):
        zoo.verify_model("tinny")
    with pytest.raises(ConfigError, match="no result with multiple scales"):
        zoo.verify_model("tiny", tta=True)
    with pytest.raises(ConfigError, match="'nothing'"):
        zoo.download_models(["nothing"])


def test_names_of_backbones_and_urls(in_the_zoo, tmp_path, monkeypatch):
    _, _, url, _ = in_the_zoo
    monkeypatch.setattr("gcseg.engine.weights._open_mmlab_urls", lambda: {"tiny": url})
    (file,) = zoo.download_models(["open-mmlab://tiny", url], tmp_path / "mirror")
    assert file.parent == tmp_path / "mirror" and file.name == url.rpartition("/")[2]
    with pytest.raises(WeightsNotFoundError, match=r"'open_mmlab'.*'open-mmlab'"):
        zoo.download_models(["open_mmlab://tiny"])


def test_listing(capsys):
    assert cli.main(["zoo"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 17
    assert cli.main(["zoo", "list", "ade20k", "r101", "--json"]) == 0
    assert [entry["miou"] for entry in json.loads(capsys.readouterr().out)] == [42.82, 43.69]
    assert cli.main(["zoo", "list", "pspnet"]) == 1
