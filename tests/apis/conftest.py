import pytest
import torch

from gcseg.config import load_config

#: Shrinks the recipe to a network that takes milliseconds.
TINY = {
    "model.backbone.depth": 18,
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.decode_head.in_channels": 64,
    "model.decode_head.channels": 8,
    "model.auxiliary_head.in_channels": 32,
    "model.auxiliary_head.channels": 8,
    "test_dataloader.dataset.pipeline.1.scale": (64, 32),
}


@pytest.fixture(scope="session")
def tiny_config():
    return load_config("gcnet_r50-d8_4xb2-40k_cityscapes-512x1024", TINY)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_config, tmp_path_factory):
    """A checkpoint in mmengine's form whose classes have names of their own; its predictions use many classes."""
    from gcseg.apis import init_model

    torch.manual_seed(0)
    model = init_model(tiny_config, device="cpu")
    with torch.no_grad():
        model.decode_head.conv_seg.weight.normal_(std=1)
    meta = dict(
        cfg=tiny_config.pretty_text,
        dataset_meta=dict(
            classes=tuple(f"name {i}" for i in range(19)), palette=[[i, 2 * i, 3 * i] for i in range(19)]
        ),
    )
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path
