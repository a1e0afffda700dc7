"""create_model: names, recipes and pieces; channels, classes, weights; and what one does with a module."""

import copy
import io
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

import gcseg
from gcseg.apis import SegInferencer, inference_model, show_result_pyplot
from gcseg.config import load_config
from gcseg.engine import weights
from gcseg.models import GCHead
from gcseg.ops import upsample_cross_entropy
from gcseg.utils import CheckpointError, ConfigError, DataError, WeightsNotFoundError

RECIPE = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
CAMVID = "gcnet_r18-d8_1xb8-1k_camvid-240x320"
#: A backbone that takes milliseconds. Strided 1x1 convolutions have 16 channels, see lay_out_channels_last.
SMALL = dict(type="ResNetV1c", depth=18, base_channels=16, stem_channels=16)


def on_meta(*args, **kwargs):
    with torch.device("meta"):
        return gcseg.create_model(*args, **kwargs)


def shapes(model):
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


class TwoMaps(nn.Module):
    """A backbone of somebody else: no config, no declared channels, and an ``init_weights`` that spoils it."""

    def __init__(self, channels=3):
        super().__init__()
        self.first = nn.Conv2d(channels, 24, 3, 4, 1)
        self.norm = nn.BatchNorm2d(24)
        self.second = nn.Conv2d(24, 96, 3, 2, 1)

    def init_weights(self):
        raise AssertionError("the weights of a finished module were drawn anew")

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        return [x, self.second(x)]


# Names


def test_every_name_of_the_list_is_head_backbone_and_stride():
    names = gcseg.list_models()
    assert len(names) == len(set(names)) == 6 * 5 * 3
    assert gcseg.list_models("gcnet_r50*") == ["gcnet_r50-d8", "gcnet_r50-d16", "gcnet_r50-d32"]
    assert gcseg.list_models("unet*") == []


@pytest.mark.parametrize(
    ("name", "head"),
    [("fcn", "FCNHead"), ("gcnet", "GCHead"), ("nlnet", "NLHead"), ("snlnet", "SNLHead"), ("senet", "SEHead"),
     ("dnlnet", "DNLHead")],
)  # fmt: skip
def test_heads_by_name(name, head):
    model = on_meta(f"{name}_r18-d32", num_classes=3)
    assert type(model.decode_head).__name__ == head and model.training
    assert model(torch.rand(2, 3, 64, 96, device="meta")).shape == (2, 3, 2, 3)


@pytest.mark.parametrize(("depth", "stride"), [(18, 8), (34, 16), (50, 32), (101, 8), (152, 16)])
def test_backbones_by_name(depth, stride):
    backbone = on_meta(f"fcn_r{depth}-d{stride}", num_classes=3).backbone
    assert backbone.depth == depth and backbone.deep_stem and not backbone.avg_down
    assert backbone.out_strides == (4, 8, min(stride, 16), stride)


@pytest.mark.parametrize(("name", "recipe"), [("gcnet_r50-d8", RECIPE), ("gcnet_r18-d8", CAMVID)])
def test_a_name_is_the_recipe(name, recipe):
    recipe = on_meta(recipe)
    model = on_meta(name, num_classes=recipe.num_classes)
    assert shapes(model) == shapes(recipe)
    # Strides, dilations, dropout, losses, initialisations ...
    assert repr(model) == repr(recipe)
    for ours, theirs in ((model.decode_head, recipe.decode_head), (model.auxiliary_head, recipe.auxiliary_head)):
        assert range(4)[ours.in_index] == range(4)[theirs.in_index]
    for key in ("type", "mean", "std", "bgr_to_rgb"):
        assert model.cfg.model.data_preprocessor[key] == recipe.cfg.model.data_preprocessor[key]
    assert on_meta("fcn_r18-d8", classes="cityscapes").dataset_meta == on_meta(RECIPE).dataset_meta


def gcseg_sample(height, width, classes):
    from mmengine.structures import PixelData

    from gcseg.structures import SegDataSample

    label = torch.arange(height * width).view(1, height, width) % classes
    return SegDataSample(gt_sem_seg=PixelData(data=label))


def test_the_number_of_classes_reaches_all_heads_of_a_recipe(tmp_path):
    file = tmp_path / "mine.py"
    extra = ", ".join(f"dict(type='FCNHead', in_channels={64 << i}, in_index={i}, channels=8)" for i in (2, 1))
    file.write_text(
        f"_base_ = '{{{{$GCSEG_CONFIGS:}}}}/gcnet/{RECIPE}.py'\n"
        f"model = dict(backbone=dict(depth=18), decode_head=dict(in_channels=512), auxiliary_head=[{extra}])\n"
        "for head in model['auxiliary_head']:\n    head['num_classes'] = 19\n"
    )
    model = on_meta(str(file), num_classes=4)
    heads = [model.decode_head, *model.auxiliary_head]
    assert [head.conv_seg.out_channels for head in heads] == [4, 4, 4]
    assert model.dataset_meta["classes"] == ("class 0", "class 1", "class 2", "class 3")
    assert on_meta(file).dataset_meta["classes"][0] == "road"


def test_a_recipe_can_be_asked_for_other_classes_and_channels():
    binary = load_config(RECIPE)
    for head in (binary.model.decode_head, binary.model.auxiliary_head):
        head.update(num_classes=2, out_channels=1, threshold=0.4)
    binary.model.backbone.in_channels = 4
    model = on_meta(Config({"model": binary.model}), num_classes=5, in_channels=2)
    assert model.out_channels == 5 and model.decode_head.threshold is None
    assert model.backbone.stem[0].in_channels == 2
    kept = on_meta(Config({"model": binary.model}))
    assert kept.out_channels == 1 and kept.decode_head.threshold == 0.4 and kept.backbone.stem[0].in_channels == 4


def test_the_auxiliary_head_can_be_left_out_and_added():
    assert not on_meta("gcnet_r18-d8", num_classes=3, auxiliary=False).with_auxiliary_head
    assert not on_meta(RECIPE, auxiliary=False).with_auxiliary_head
    assert on_meta(RECIPE, auxiliary=True).with_auxiliary_head
    without = load_config(RECIPE)
    del without.model["auxiliary_head"]
    with pytest.raises(ConfigError, match="no auxiliary head"):
        on_meta(Config({"model": without.model}), auxiliary=True)
    pieces = dict(backbone="r18-d8", head="gc", num_classes=3)
    assert not on_meta(**pieces).with_auxiliary_head
    assert shapes(on_meta(**pieces, auxiliary=True)) == shapes(on_meta("gcnet_r18-d8", num_classes=3))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (dict(name="gcnett_r50-d8"), "gcnet_r50-d8"),
        (dict(name="gcnet_r51-d8"), "gcnet_r50-d8"),
        (dict(name="gcnet_r18-d8_1xb8-1k_camvid"), "gcnet_r18-d8_1xb8-1k_camvid-240x320"),
        (dict(name="/nowhere/x.py"), "/nowhere/x.py"),
        (dict(backbone="r50", head="gc"), "r50-d8"),
        (dict(backbone="r18-d8", head="gcn"), "'gc'"),
        (dict(backbone="r18-d8", head=7), "unknown head"),
        (dict(backbone="r18-d8"), "both backbone"),
        (dict(), "both backbone"),
        (dict(name="gcnet_r18-d8", head="gc"), "both backbone"),
        (dict(backbone=SMALL, head=dict(type="GCHaed")), "GCHead"),
        (dict(backbone=SMALL, head=dict(type="GCHead", ration=1)), "ratio"),
        (dict(backbone=dict(SMALL, type="ResNetV1"), head="gc"), "ResNetV1c"),
        (dict(backbone=SMALL, head=dict(type="FCNHead", in_index=4)), "in_index"),
        (dict(backbone=SMALL, head=dict(type="FCNHead", in_channels=99)), "99"),
        (dict(backbone=SMALL, head=nn.Conv2d(1, 1, 1)), "BaseDecodeHead"),
        (dict(backbone=SMALL, head=GCHead(in_channels=128, channels=16, num_classes=4)), "made for 4"),
        (dict(name="gcnet_r18-d8", num_classes=None), "num_classes"),
        (dict(name="gcnet_r18-d8", num_classes=0), "0"),
        (dict(name="gcnet_r18-d8", num_classes="3"), "'3'"),
        (dict(name="gcnet_r18-d8", classes=("a", "b")), "2 names"),
        (dict(name="gcnet_r18-d8", classes=(1, 2, 3)), "names"),
        (dict(name="gcnet_r18-d8", in_channels=0), "in_channels=0"),
        (dict(name="gcnet_r18-d8", mean=(1, 2), std=(1, 2)), "3 channels"),
        (dict(name="gcnet_r18-d8", mean=None), "mean=None"),
        (dict(name="gcnet_r18-d8", mean=128, std=1), "mean=128"),
        (dict(name="gcnet_r18-d8", std=(0, 1, 1)), "positive"),
        (dict(name="gcnet_r18-d8", pretrained=7), "pretrained=7"),
        (dict(name=7), "a str, a path or a Config"),
        (dict(name="x" * 9999), "unknown model"),
        (dict(backbone=["r18-d8"], head="gc"), "unknown backbone"),
        (dict(backbone="r18-d8", head=["gc"]), "unknown head"),
        (dict(backbone=SMALL, head=dict(type="GCHead", num_classes=7)), "made for 7"),
        (dict(backbone=dict(SMALL, in_channels=4), head="gc", in_channels=5), "backbone says 4"),
        (dict(name="gcnet_r18-d8", num_classes=1, classes=["cat"]), "2 labels"),
    ],
)
def test_what_cannot_be_made_is_said(arguments, expected):
    with pytest.raises(ConfigError) as error:
        gcseg.create_model(**{"num_classes": 3, **arguments})
    assert expected in str(error.value)


def test_an_unknown_data_set_is_said():
    with pytest.raises(DataError, match="cityscapes"):
        gcseg.create_model("gcnet_r18-d8", classes="cityscape")


# Pieces


def test_channels_come_from_the_backbone():
    model = gcseg.create_model(backbone=SMALL, head=dict(type="GCHead", ratio=1 / 8), num_classes=3)
    assert (model.decode_head.in_channels, model.decode_head.channels) == (128, 32)
    assert model.decode_head.gc_block.channel_add_conv[0].out_channels == 4
    several = dict(type="FCNHead", in_index=(1, 3), input_transform="resize_concat")
    model = gcseg.create_model(backbone=SMALL, head=several, num_classes=3)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 3, 8, 8)


def test_a_module_is_looked_at_and_left_as_it_was():
    backbone = TwoMaps(5)
    backbone.first.eval()
    before = copy.deepcopy(backbone.state_dict())
    model = gcseg.create_model(backbone=backbone, head="gc", num_classes=3, in_channels=5, auxiliary=True)
    assert model.backbone is backbone
    assert (model.decode_head.in_channels, model.auxiliary_head.in_channels) == (96, 24)
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert model(torch.rand(2, 5, 32, 32)).shape == (2, 3, 4, 4)
    frozen = TwoMaps()
    frozen.norm.eval()
    with pytest.raises(ConfigError):
        gcseg.create_model(backbone=frozen, head="gc", num_classes=3, in_channels=4)
    assert frozen.training and not frozen.norm.training


class Returns(nn.Module):
    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, x):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result(x)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (RuntimeError("images must be 224 wide"), "must be 224 wide"),
        (lambda x: {"out": [x]}, "returned list"),
        (lambda x: x.flatten(2), "(1, 3, 4096)"),
        (lambda x: None, "NoneType"),
        (lambda x: x[:, :, ::16, ::16].permute(0, 2, 3, 1), "which are (N, H, W, C)"),
    ],
)
def test_a_backbone_that_cannot_be_used_says_what_is_wanted(result, expected):
    with pytest.raises(ConfigError) as error:
        gcseg.create_model(backbone=Returns(result), head="gc", num_classes=3)
    assert expected in str(error.value) and "(N, C, H, W)" in str(error.value)


def test_a_backbone_may_declare_its_channels_or_return_one_map():
    fails = Returns(RuntimeError("only 224"))
    fails.out_channels = (8, 40)
    assert gcseg.create_model(backbone=fails, head="fcn", num_classes=3).decode_head.in_channels == 40
    fails = Returns(RuntimeError("only 224"))
    fails.feature_info = SimpleNamespace(out_indices=(3, 1), channels=lambda found: [10 * i for i in found])  # timm's
    assert gcseg.create_model(backbone=fails, head="fcn", num_classes=3).decode_head.in_channels == 30
    wrapped = Returns(lambda x: SimpleNamespace(feature_maps=(x, x[:, :2])))  # transformers'
    assert gcseg.create_model(backbone=wrapped, head="fcn", num_classes=3)(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8, 8)
    named = Returns(lambda x: {"first": x, "second": x[:, :2]})  # as torchvision's feature extractors
    assert gcseg.create_model(backbone=named, head="fcn", num_classes=3)(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8, 8)
    single = Returns(nn.Conv2d(3, 40, 1))
    model = gcseg.create_model(backbone=single, head="fcn", num_classes=3)
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8, 8)
    with pytest.raises(ConfigError, match="gives 1"):
        gcseg.create_model(backbone=single, head="fcn", num_classes=3, auxiliary=True)


def test_a_finished_head():
    head = GCHead(in_channels=96, channels=16, num_classes=4)
    model = gcseg.create_model(backbone=TwoMaps(), head=head, auxiliary=True)
    assert model.decode_head is head and model.auxiliary_head.num_classes == 4


# Weights


def test_weights_are_those_of_a_training_and_follow_the_seed(capsys):
    torch.manual_seed(3)
    model = gcseg.create_model(backbone=SMALL, head="gc", num_classes=50)
    assert capsys.readouterr().out == ""
    assert model.decode_head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert model.backbone.layer1[0].bn2.weight.abs().max() == 0 and model.backbone.layer1[0].bn1.weight.min() == 1
    fan_out = 16 * 9
    assert model.backbone.layer1[0].conv1.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    torch.manual_seed(3)
    again = gcseg.create_model(backbone=SMALL, head="gc", num_classes=50)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    constant = dict(SMALL, init_cfg=dict(type="Constant", val=7, layer="Conv2d"))
    assert (gcseg.create_model(backbone=constant, head="gc", num_classes=3).backbone.stem[0].weight == 7).all()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Backbone weights as they are published, with a classifier, on a server of this machine."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    backbone = gcseg.create_model(backbone=SMALL, head="fcn", num_classes=2).backbone
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    state = backbone.state_dict()
    torch.save({**state, "fc.weight": torch.zeros(10, 128)}, folder / "backbone.pth")
    whole = {f"backbone.{k}": v for k, v in state.items()} | {"decode_head.conv_seg.weight": torch.zeros(3, 8, 1, 1)}
    torch.save({"state_dict": whole}, folder / "segmentor.pth")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}", state
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(published, monkeypatch, tmp_path):
    """The published weights of a ResNet-18, and an empty weights folder."""
    monkeypatch.setenv("GCSEG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(weights, "_open_mmlab_urls", lambda: {"resnet18_v1c": f"{published[1]}/backbone.pth"})


def is_loaded(model, state):
    return all(torch.equal(value, state[key]) for key, value in model.backbone.state_dict().items())


def test_imagenet_weights_are_fetched_on_request(hub, published, tmp_path):
    state = published[2]
    pieces = dict(backbone=SMALL, head="gc", num_classes=3)
    assert not is_loaded(gcseg.create_model(**pieces), state)
    assert not (tmp_path / "weights").exists()
    assert is_loaded(gcseg.create_model(**pieces, pretrained=True), state)
    assert (tmp_path / "weights" / "backbone.pth").is_file()


@pytest.mark.parametrize("kind", ["file", "path", "URL", "segmentor", "folder", "config"])
def test_weights_by_file_url_and_name(published, monkeypatch, kind):
    folder, url, state = published
    monkeypatch.setenv("GCSEG_WEIGHTS", str(folder))
    source = {
        "file": str(folder / "backbone.pth"),
        "path": folder / "backbone.pth",
        "URL": f"{url}/backbone.pth",
        "segmentor": folder / "segmentor.pth",
        "folder": "backbone.pth",
        "config": True,
    }[kind]
    backbone = dict(SMALL, init_cfg=dict(type="Pretrained", checkpoint="backbone.pth")) if kind == "config" else SMALL
    model = gcseg.create_model(backbone=backbone, head="gc", num_classes=3, pretrained=source)
    assert is_loaded(model, state) and "init_cfg" not in model.cfg.model.backbone


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7])
def test_adapted_weights_see_a_grey_photograph_as_before(published, channels):
    file = published[0] / "backbone.pth"
    pieces = dict(backbone=SMALL, head="gc", num_classes=3, pretrained=file)
    rgb = gcseg.create_model(**pieces).eval()
    other = gcseg.create_model(**pieces, in_channels=channels).eval()
    grey = torch.rand(1, 1, 48, 64) * 2 - 1

    def features(model, count):
        return model.backbone(grey.expand(-1, count, -1, -1))

    for ours, theirs in zip(features(other, channels), features(rgb, 3), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    if channels >= 3:  # through the preprocessor too, whose numbers are repeated in the same way
        photograph = (torch.rand(1, 1, 48, 64) * 255).byte()
        prepared = [
            model.data_preprocessor(dict(inputs=photograph.expand(-1, count, -1, -1)))["inputs"]
            for model, count in ((other, channels), (rgb, 3))
        ]
        for ours, theirs in zip(other.backbone(prepared[0]), rgb.backbone(prepared[1]), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_weights_that_cannot_be_had_are_said(hub, published):
    folder = published[0]
    for name in ("gcnet_r152-d8", "gcnet_r34-d8"):
        with pytest.raises(WeightsNotFoundError, match="depth 18, 50 and 101"):
            gcseg.create_model(name, num_classes=3, pretrained=True)
    pieces = dict(backbone=SMALL, head="gc", num_classes=3)
    for other in (dict(depth=34), dict(base_channels=24), dict(type="ResNet"), dict(stem_channels=8)):
        with pytest.raises(CheckpointError, match="of another backbone|tensors match"):
            gcseg.create_model(**{**pieces, "backbone": {**SMALL, **other}}, pretrained=folder / "backbone.pth")
    with pytest.raises(WeightsNotFoundError, match=r"absent\.pth"):
        gcseg.create_model(**pieces, pretrained=folder / "absent.pth")
    with pytest.raises(ConfigError, match="finished TwoMaps"):
        gcseg.create_model(backbone=TwoMaps(), head="gc", num_classes=3, pretrained=True)
    named = dict(SMALL, init_cfg=dict(type="Pretrained", checkpoint="x.pth"))
    with pytest.raises(ConfigError, match=r"x\.pth; pretrained=True"):
        gcseg.create_model(backbone=named, head="gc", num_classes=3)
    with pytest.raises(ConfigError, match="meta"):
        on_meta(**pieces, pretrained=folder / "backbone.pth")


def test_inserted_blocks_keep_their_values(published):
    plugin = dict(cfg=dict(type="ContextBlock", ratio=1 / 4), position="after_conv2")
    backbone = dict(SMALL, plugins=[plugin])
    model = gcseg.create_model(backbone=backbone, head="fcn", num_classes=3, pretrained=published[0] / "backbone.pth")
    state = published[2]
    own = model.backbone.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in state) and len(own) > len(state)


# One class, two classes, many channels


def test_one_class_is_foreground_against_background():
    torch.manual_seed(0)
    model = gcseg.create_model(backbone=SMALL, head="gc", num_classes=1, auxiliary=True).eval()
    images = torch.rand(2, 3, 32, 48)
    logits = model(images)
    assert logits.shape == (2, 1, 1, 2) and model.dataset_meta["classes"] == ("background", "foreground")
    model.decode_head.conv_seg.weight.data.mul_(100)
    full = F.interpolate(model(images), (32, 48), mode="bilinear")
    labels = torch.stack([sample.pred_sem_seg.data for sample in model.predict(images)])
    assert torch.equal(labels, (full.sigmoid() > 0.5).long()) and 0 < labels.sum() < labels.numel()
    samples = [gcseg_sample(32, 48, 2) for _ in images]
    target = torch.stack([s.gt_sem_seg.data for s in samples]).float()
    loss = model.loss(images, samples)["decode.loss_ce"]
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(full, target))


def test_two_classes_ask_nothing(recwarn):
    assert on_meta("fcn_r18-d32", num_classes=2).out_channels == 2
    assert not [w for w in recwarn if "num_classes" in str(w.message)]


@pytest.mark.parametrize(
    ("arguments", "mean"),
    [
        (dict(in_channels=1), [(123.675 + 116.28 + 103.53) / 3]),
        (dict(in_channels=4), [123.675, 116.28, 103.53, 123.675]),
        (dict(in_channels=2, mean=(1, 2), std=np.array([3, 4])), [1, 2]),
        (dict(in_channels=4, mean=None, std=None), None),
        (dict(name=CAMVID, in_channels=5), [123.675, 116.28, 103.53, 123.675, 116.28]),
    ],
)
def test_the_preprocessor_has_the_channels_of_the_images(arguments, mean):
    pieces = {} if "name" in arguments else dict(backbone=SMALL, head="fcn")
    model = gcseg.create_model(num_classes=3, **pieces, **arguments)
    count = arguments["in_channels"]
    images = torch.randint(0, 255, (2, count, 32, 40), dtype=torch.uint8)
    batch = model.data_preprocessor(dict(inputs=list(images)))["inputs"]
    if mean is None:
        assert torch.equal(batch, images.float())
    else:
        std = model.data_preprocessor.std
        torch.testing.assert_close(batch * std + torch.tensor(mean).view(-1, 1, 1), images.float())
    assert model.eval()(batch).shape[:2] == (2, 3)


def test_photographs():
    photograph = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    pieces = dict(backbone=SMALL, head="fcn", classes=["grass", "sky"])
    model = gcseg.create_model(**pieces)
    with pytest.raises(ConfigError, match=r"model\.eval\(\)"):
        inference_model(model, photograph)
    model.eval()
    result = inference_model(model, photograph)
    rgb = torch.from_numpy(photograph[:, :, ::-1].transpose(2, 0, 1).copy()).float()
    normalised = (rgb - model.data_preprocessor.mean) / model.data_preprocessor.std
    assert torch.equal(result.pred_sem_seg.data, model.predict(normalised[None])[0].pred_sem_seg.data)
    assert show_result_pyplot(model, photograph, result, show=False).shape == (40, 56, 3)
    assert SegInferencer(model, show_progress=False)(photograph)["predictions"].shape == (40, 56)

    grey = gcseg.create_model(**pieces, in_channels=1).eval()
    assert inference_model(grey, photograph).pred_sem_seg.data.shape == (1, 40, 56)
    four = gcseg.create_model(**pieces, in_channels=4).eval()
    with pytest.raises(ConfigError, match="test_pipeline"):
        inference_model(four, photograph)


def test_an_array_of_as_many_channels_as_the_model_takes():
    pieces = dict(backbone=SMALL, head="gc", num_classes=3)
    model = gcseg.create_model(**pieces, in_channels=4, mean=None, std=None).eval()
    model.cfg.test_pipeline = [dict(type="LoadImageFromFile", color_type="unchanged"), dict(type="PackSegInputs")]
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 4), dtype=np.uint8)
    result = inference_model(model, image)
    batch = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None]
    assert torch.equal(result.pred_sem_seg.data, model.predict(batch)[0].pred_sem_seg.data)
    assert SegInferencer(model, show_progress=False)(image, return_vis=True)["visualization"].shape == (40, 56, 3)
    with pytest.raises(DataError, match=r"4 channels .* image\[:, :, :3\]"):
        inference_model(gcseg.create_model(**pieces).eval(), image)


# A module as any other


def test_a_plain_training_loop_learns():
    torch.manual_seed(0)
    backbone = dict(SMALL, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    model = gcseg.create_model(backbone=backbone, head="gc", num_classes=2, auxiliary=True)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    labels = torch.zeros(4, 64, 64, dtype=torch.long)
    labels[:, 16:48, 16:48] = 1
    images = torch.rand(4, 3, 64, 64) + labels[:, None]
    losses = []
    for _ in range(12):
        loss = upsample_cross_entropy(model(images), labels).loss.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_copies_pickles_and_dtypes(tmp_path):
    torch.manual_seed(0)
    model = gcseg.create_model(backbone=SMALL, head="nl", num_classes=3, auxiliary=True).eval()
    images = torch.rand(1, 3, 48, 48)
    expected = model(images)
    assert torch.equal(copy.deepcopy(model)(images), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(images), expected)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(images), expected)
    torch.testing.assert_close(model.double()(images.double()).float(), expected, rtol=1e-3, atol=1e-4)


def test_two_models_have_nothing_in_common():
    first, second = (gcseg.create_model(backbone=SMALL, head="gc", num_classes=3, auxiliary=True) for _ in range(2))
    assert not {p.data_ptr() for p in first.parameters()} & {p.data_ptr() for p in second.parameters()}
    first.cfg.model.data_preprocessor.mean[0] = 9
    first.cfg.model.auxiliary_head.loss_decode.loss_weight = 9
    third = gcseg.create_model(backbone=SMALL, head="gc", num_classes=3, auxiliary=True)
    assert third.cfg.model == second.cfg.model != first.cfg.model
    assert len(SMALL) == 4  # nothing was written into it


def test_from_another_folder_and_on_the_default_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert on_meta("gcnet_r18-d8", num_classes=3).decode_head.conv_seg.weight.is_meta
    assert on_meta(RECIPE).decode_head.num_classes == 19 and not list(tmp_path.iterdir())
