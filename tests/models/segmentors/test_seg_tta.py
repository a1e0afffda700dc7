import pytest
import tiny_segmentor as tiny
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gcseg.models.segmentors import EncoderDecoder, SegTTAModel
from gcseg.ops import bilinear_map
from gcseg.registry import MODELS
from gcseg.utils.errors import DataError


def views(sizes=((30, 40), (45, 60)), images=1, label=False):
    """What TestTimeAug and the collation give: per view, a list over the images."""
    inputs, samples = [], []
    for height, width in sizes:
        for flip in (False, True):
            photographs = [tiny.image(height, width, seed=i) for i in range(images)]
            inputs.append([p.flip(-1) if flip else p for p in photographs])
            meta = dict(ori_shape=(60, 80), flip=flip, flip_direction="horizontal" if flip else None)
            samples.append(
                [tiny.sample(height, width, label=label, img_path=f"{i}.png", **meta) for i in range(images)]
            )
    return dict(inputs=inputs, data_samples=samples)


def mean_by_hand(model, data):
    totals = None
    for inputs, samples in zip(data["inputs"], data["data_samples"], strict=True):
        with torch.no_grad():
            results = model.test_step(dict(inputs=inputs, data_samples=samples))
        binary = model.out_channels == 1
        probs = [r.seg_logits.data if binary else r.seg_logits.data.softmax(0) for r in results]
        totals = probs if totals is None else [t + p for t, p in zip(totals, probs, strict=True)]
    return [t / len(data["inputs"]) for t in totals]


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("as_tuple", [False, True])
def test_the_mean_of_the_softmax_decides(images, as_tuple):
    model = tiny.build()
    data = views(images=images)
    results = SegTTAModel(model).test_step(tuple(data.values()) if as_tuple else data)
    wanted = mean_by_hand(model, views(images=images))
    assert len(results) == images
    for i, (result, mean) in enumerate(zip(results, wanted, strict=True)):
        assert torch.equal(result.pred_sem_seg.data, mean.argmax(0, keepdim=True))
        assert result.img_path == f"{i}.png" and "seg_logits" not in result and "gt_sem_seg" not in result
    single = model.test_step(dict(inputs=views()["inputs"][0], data_samples=views()["data_samples"][0]))[0]
    assert not torch.equal(single.pred_sem_seg.data, results[0].pred_sem_seg.data)


def test_one_channel_averages_the_sigmoid_once():
    model = tiny.build(binary=True)
    (mean,) = mean_by_hand(model, views())
    model.decode_head.threshold = float(mean.median())
    (result,) = SegTTAModel(model).test_step(views())
    assert torch.equal(result.pred_sem_seg.data, (mean > model.decode_head.threshold).long())
    assert 0.2 < result.pred_sem_seg.data.double().mean() < 0.8


def test_merging_what_was_predicted_before_gives_the_same():
    model = tiny.build()
    tta, data = SegTTAModel(model), views(images=2)
    with torch.no_grad():
        predicted = [
            model.test_step(dict(inputs=i, data_samples=s))
            for i, s in zip(data["inputs"], data["data_samples"], strict=True)
        ]
    merged = tta.merge_preds(list(zip(*predicted, strict=True)))
    streamed = tta.test_step(views(images=2))
    assert all(torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data) for a, b in zip(merged, streamed, strict=True))


def test_ground_truth_is_kept_when_there_is_one():
    data = views(label=True)
    truth = data["data_samples"][0][0].gt_sem_seg.data.clone()
    (result,) = SegTTAModel(tiny.build()).test_step(data)
    assert torch.equal(result.gt_sem_seg.data, truth)


def test_an_image_and_its_mirror_image_are_one_batch():
    model, batches = tiny.build(), []
    model.backbone.register_forward_pre_hook(lambda module, args: batches.append(tuple(args[0].shape)))
    SegTTAModel(model).test_step(views(sizes=((30, 40), (33, 44), (36, 48))))
    assert batches == [(2, 3, 30, 40), (2, 3, 33, 44), (2, 3, 36, 48)]


def test_no_view_is_made_at_the_photographs_size():
    data, photograph = views(sizes=((16, 16), (20, 20))), tiny.CLASSES * 400 * 400
    for samples in data["data_samples"]:
        samples[0].set_metainfo(dict(ori_shape=(400, 400)))
    made = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.is_floating_point() and out.numel() >= photograph:
                made.append(out.untyped_storage().data_ptr())
            return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bilinear_map._STRIP_BYTES, "cpu", 4096)
        with Watch():
            SegTTAModel(tiny.build()).test_step(data)
    assert len(set(made)) == 1  # the sum


def test_a_segmentor_with_its_own_last_step_is_asked_for_its_scores():
    class Mine(EncoderDecoder):
        def postprocess_result(self, seg_logits, data_samples=None):
            return super().postprocess_result(-seg_logits, data_samples)

    model = tiny.build()
    model.__class__ = Mine
    (result,) = SegTTAModel(model).test_step(views())
    (mean,) = mean_by_hand(model, views())
    assert torch.equal(result.pred_sem_seg.data, mean.argmax(0, keepdim=True))


def test_built_from_a_config_which_stays_as_it_was():
    config = dict(type="SegTTAModel", module=tiny.config(), data_preprocessor=dict(type="SegDataPreProcessor"))
    tta = MODELS.build(config)
    assert "mean" in config["module"]["data_preprocessor"]
    assert tta.module.data_preprocessor._enable_normalize is False
    assert len(tta.eval().test_step(views())) == 1


@pytest.mark.parametrize(
    "data",
    [
        dict(inputs=[tiny.image(8, 8)], data_samples=[tiny.sample(8, 8)]),
        dict(inputs=[[tiny.image(8, 8)]], data_samples=[]),
        dict(inputs=[], data_samples=[]),
    ],
    ids=["no views", "unequal", "empty"],
)
def test_a_pipeline_without_views_is_named(data):
    with pytest.raises(DataError, match="TestTimeAug"):
        SegTTAModel(tiny.build()).test_step(data)


def test_views_that_do_not_fit_are_named():
    data = views()
    data["data_samples"][1][0].set_metainfo(dict(ori_shape=(61, 80)))
    with pytest.raises(DataError, match=r"0\.png.*ori_shape"):
        SegTTAModel(tiny.build()).test_step(data)
    data = views(images=2)
    data["inputs"][1].pop(), data["data_samples"][1].pop()
    with pytest.raises(DataError, match="1 images, another 2"):
        SegTTAModel(tiny.build()).test_step(data)


def test_through_a_runner_and_the_published_pipeline(tmp_path, monkeypatch):
    """Images without any ground truth, from file to prediction, by mmengine's test loop."""
    import cv2
    from mmengine.dataset import pseudo_collate
    from mmengine.evaluator import BaseMetric, Evaluator
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader

    from gcseg.registry import TRANSFORMS

    cv2.imwrite(str(tmp_path / "a.png"), tiny.image(30, 40).permute(1, 2, 0).numpy())
    pipeline = [
        TRANSFORMS.build(dict(type="LoadImageFromFile")),
        TRANSFORMS.build(
            dict(
                type="TestTimeAug",
                transforms=[
                    [dict(type="Resize", scale_factor=f, keep_ratio=True) for f in (0.5, 1.5)],
                    [dict(type="RandomFlip", prob=p, direction="horizontal") for p in (0.0, 1.0)],
                    [dict(type="PackSegInputs")],
                ],
            )
        ),
    ]

    class Photographs(torch.utils.data.Dataset):
        metainfo = dict(classes=("a",) * tiny.CLASSES)

        def __len__(self):
            return 2

        def __getitem__(self, index):
            results = dict(img_path=str(tmp_path / "a.png"), seg_fields=[])
            for transform in pipeline:
                results = transform(results)
            return results

    class Keep(BaseMetric):
        kept: list = []

        def process(self, data_batch, data_samples):
            self.kept += data_samples
            self.results += [1] * len(data_samples)

        def compute_metrics(self, results):
            return dict(images=len(results))

    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)  # asking compilers for their versions takes seconds
    model = tiny.build()
    runner = Runner(
        model=SegTTAModel(model),
        work_dir=str(tmp_path / "work"),
        test_dataloader=DataLoader(Photographs(), batch_size=2, collate_fn=pseudo_collate),
        test_evaluator=Evaluator(Keep()),
        test_cfg=dict(type="TestLoop"),
        default_scope="gcseg",
        experiment_name="tta",
    )
    assert runner.test()["images"] == 2
    first, second = (sample["pred_sem_seg"]["data"] for sample in Keep.kept)
    assert first.shape == (1, 30, 40) and torch.equal(first, second)
    batch = pseudo_collate([Photographs()[0]])
    (mean,) = mean_by_hand(model, batch)
    assert len(batch["inputs"]) == 4 and torch.equal(first[0], mean.argmax(0))
