import weakref

import pytest
import tiny_segmentor as tiny
import torch

from gcseg.models.segmentors import SegTTAModel
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


def test_one_view_at_a_time_is_in_memory():
    model = tiny.build()
    alive, most = [], []
    original = model._set_result

    def watched(sample, logits, input_size):
        original(sample, logits, input_size)
        make = sample.__dict__["_pending_seg_logits"]

        def make_and_watch():
            full = make()
            alive.append(weakref.ref(full))
            most.append(sum(ref() is not None for ref in alive))
            return full

        sample.set_seg_logits_lazily(make_and_watch)

    model._set_result = watched
    SegTTAModel(model).test_step(views(sizes=((30, 40), (33, 44), (36, 48))))
    assert len(most) == 6 and max(most) <= 2  # the one being made, and the last one's name in the loop


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
