"""Two processes compute what one does with a batch of double size; so do two accumulated iterations."""

import copy
import warnings

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from random_segmentor import CLASSES, build, images
from several_processes import run_ranks

from gcseg.engine.hooks.processes_hook import broadcast_buffers
from gcseg.engine.model_wrapper import MMDistributedDataParallel
from gcseg.structures import SegDataSample

PER_RANK = 2


def whole_batch(seed=3):
    """Four images, of which the second half has many more pixels to be ignored."""
    x = images(2 * PER_RANK, 33, 47, torch.float64, seed)
    labels = torch.randint(CLASSES, (2 * PER_RANK, 1, 33, 47), generator=torch.Generator().manual_seed(seed))
    labels[:, :, :3] = 255
    labels[PER_RANK:, :, 10:] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    return dict(inputs=x, data_samples=samples)


def part(batch, k):
    mine = slice(k * PER_RANK, (k + 1) * PER_RANK)
    return {key: value[mine] for key, value in batch.items()}


def frozen_model(**loss):
    """In float64; normalisation by running statistics and no dropout."""
    torch.manual_seed(0)
    losses = [dict(type="CrossEntropyLoss", **loss), dict(type="FocalLoss", loss_name="loss_focal")]
    if loss:
        del losses[1]
    model = build(head=dict(loss_decode=losses)).double()
    model.data_preprocessor.forward = lambda data, training: data  # would make it float32
    return model.eval()


def gradients(model, batch, wrapped=None):
    losses = (wrapped or model)(**batch, mode="loss")
    model.parse_losses(losses)[0].backward()
    return {name: p.grad for name, p in model.named_parameters()}


def largest_error(found, expected):
    assert found.keys() == expected.keys() and all(g is not None for g in found.values())
    largest = max(g.abs().max() for g in expected.values())
    return max((found[k] - expected[k]).abs().max() for k in expected) / largest


def rank_gradients(rank, models):
    batch = part(whole_batch(), rank)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # torch renames arguments
        wrapped = [MMDistributedDataParallel(m, device_ids=[rank], broadcast_buffers=False) for m in models]
    assert not any(w.broadcast_buffers for w in wrapped)
    found = [gradients(m, batch, w) for m, w in zip(models, wrapped, strict=True)]
    buffers = torch.nn.BatchNorm2d(3)
    buffers.running_mean.fill_(rank + 1)
    buffers.num_batches_tracked.fill_(10 * (rank + 1))
    broadcast_buffers(buffers)
    return found, [*buffers.running_mean.tolist(), buffers.num_batches_tracked.item()]


def test_two_processes_give_the_gradient_of_the_double_batch():
    over_all_pixels, over_valid_pixels = frozen_model(), frozen_model(avg_non_ignore=True)
    ranks = run_ranks(rank_gradients, 2, [over_all_pixels, over_valid_pixels])
    expected = gradients(over_all_pixels, whole_batch())
    for found, _ in ranks:
        assert largest_error(found[0], expected) < 1e-10
    # A mean over the labelled pixels of each process is not the mean over those of all: docs/distributed.md.
    assert largest_error(ranks[0][0][1], gradients(over_valid_pixels, whole_batch())) > 1e-3
    # What is validated is what is saved: the running statistics of rank 0.
    assert [buffers for _, buffers in ranks] == [[1, 1, 1, 10]] * 2


@pytest.mark.parametrize("counts", [1, 2])
def test_accumulated_iterations_make_the_step_of_the_double_batch(counts):
    model = frozen_model()
    other = copy.deepcopy(model)

    def optimizer(model, **options):
        sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return OptimWrapper(sgd, clip_grad=dict(max_norm=1), **options)  # random weights have huge gradients

    one, two = optimizer(model), optimizer(other, accumulative_counts=counts)
    two.initialize_count_status(other, 0, 4)
    for seed in (3, 4):
        batch = whole_batch(seed)
        model.train_step(batch, one)
        for k in range(2):
            other.train_step(part(batch, k), two)
    before = frozen_model().state_dict()
    moved = max((model.state_dict()[k] - before[k]).abs().max() for k in before)
    error = max((a - b).abs().max() for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert moved > 1e-3
    assert error < 1e-10 if counts == 2 else error > 1e-4
