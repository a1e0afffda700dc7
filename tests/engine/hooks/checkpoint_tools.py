"""A runner that saves as mmengine's does, and trains by adding to one weight."""

import itertools
import logging
import types
from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.fileio import join_path
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint

from gcseg.engine.checkpoint import load_checkpoint_file

_numbers = itertools.count()


class Runner:
    """What a checkpoint hook asks of a runner. ``size`` float32 numbers are its weights."""

    def __init__(self, work_dir, max_iters=100, per_epoch=10, size=1000):
        self.work_dir = str(work_dir)
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        self.max_iters, self.max_epochs = max_iters, max_iters // per_epoch
        self.train_loop = types.SimpleNamespace(max_iters=self.max_iters, max_epochs=self.max_epochs)
        self.train_dataloader = range(per_epoch)
        self.per_epoch = per_epoch
        self.iter = self.epoch = 0
        self.weights = torch.zeros(size)
        self.message_hub = MessageHub.get_instance(f"checkpoint_tools_{next(_numbers)}")
        self.said = []
        self.logger = logging.Logger("run")
        handler = logging.Handler()
        handler.emit = lambda record: self.said.append((record.levelname, record.getMessage()))
        self.logger.addHandler(handler)

    @master_only
    def save_checkpoint(
        self,
        out_dir,
        filename,
        file_client_args=None,
        save_optimizer=True,
        save_param_scheduler=True,
        meta=None,
        by_epoch=True,
        backend_args=None,
    ):
        content = dict(meta=meta, state_dict=dict(w=self.weights), message_hub=self.message_hub.state_dict())
        if save_optimizer:
            content["optimizer"] = dict(state={})
        path = join_path(out_dir, filename, backend_args=backend_args)
        save_checkpoint(content, path, file_client_args=file_client_args, backend_args=backend_args)

    def run(self, hook, stop, scores=None, every=5):
        """Train on to iteration ``stop``; at multiples of ``every`` validate with ``scores[iteration]``."""
        if not self.iter:
            hook.before_train(self)
        while self.iter < stop:
            self.weights += 1
            hook.after_train_iter(self, self.iter)
            self.iter += 1
            if self.iter % self.per_epoch == 0:
                hook.after_train_epoch(self)
                self.epoch += 1
            if scores is not None and self.iter % every == 0:
                hook.after_val_epoch(self, scores[self.iter])
        if stop == self.max_iters:
            hook.after_train(self)

    def logged(self, level):
        return [text for name, text in self.said if name == level]

    def records(self):
        """What the message hub knows, with the names of files in the place of paths."""
        return {k: Path(v).name if isinstance(v, str) else v for k, v in self.message_hub.runtime_info.items()}


def files(folder):
    """Names of the files, each of which must be whole, and hold the weights of the iteration it speaks of."""
    names = sorted(f.name for f in Path(folder).iterdir() if f.is_file())
    for name in names:
        if name.endswith(".pth"):
            content = load_checkpoint_file(Path(folder) / name)
            assert content["state_dict"]["w"].unique().tolist() == [content["meta"]["iter"]], name
    return names
