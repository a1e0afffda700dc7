"""What is sent to the benchmark's server, from a config of the form that docs/user_guide/tools.md shows."""

import numpy as np
import tiny_run
import torch
from PIL import Image

from gcseg.apis import inference_model, init_model
from gcseg.apis.test import test as run_test

SERVER = """
classes["classes"] = ("road", "sky", "car")
test_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dict(
    type="BaseSegDataset", data_root="{root}", metainfo=classes, data_prefix=dict(img_path="img", seg_map_path=None),
    pipeline=[load[0], test_pipeline[1], test_pipeline[3]]))
test_evaluator = dict(type="CityscapesMetric", output_dir="{root}/server", keep_results=True, format_only=True)
"""


def test_label_ids_are_written_for_images_without_labels(tmp_path):
    config = tiny_run.write(tmp_path / "data")
    config.write_text(config.read_text() + SERVER.replace("{root}", str(tmp_path / "data")))
    torch.manual_seed(0)
    model = init_model(config, device="cpu")
    images = sorted((tmp_path / "data" / "img").iterdir())
    with torch.no_grad():
        model.decode_head.conv_seg.weight.normal_()
        model.decode_head.conv_seg.bias -= inference_model(model, images[0]).seg_logits.data.mean((1, 2))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "tiny.pth")
    assert run_test(config, tmp_path / "tiny.pth", work_dir=tmp_path / "work") == {}
    written = sorted((tmp_path / "data" / "server").iterdir())
    assert [f.name for f in written] == [f"{image.stem}.png" for image in images]
    ids = np.array([7, 23, 26])
    for image, file in zip(images, written, strict=True):
        expected = ids[inference_model(model, image).pred_sem_seg.data[0]]
        assert (np.asarray(Image.open(file)) == expected).mean() > 0.999 and len(np.unique(expected)) > 1
