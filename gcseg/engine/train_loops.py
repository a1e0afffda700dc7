"""Training loops that can be left anywhere and taken up again as if nothing had happened."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine import runner as _runner
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from gcseg.engine.hooks.runtime_info_hook import RuntimeInfoHook
from gcseg.engine.interruption import Interruption, StopRequested
from gcseg.engine.samplers import DefaultSampler, InfiniteSampler
from gcseg.engine.stream import StreamDataset
from gcseg.registry import DATASETS, LOOPS
from gcseg.utils.errors import ConfigError, DataError, TrainingError

# Seconds that a batch may take to load. DataLoader's own default is to wait for ever.
_LOADING_TIMEOUT = 600


def with_stream(dataloader: DataLoader | dict, seed: int) -> DataLoader | dict:
    """A dataloader config whose augmentation depends on the seed and the place in the stream alone.

    Args:
        dataloader: as ``Runner.build_dataloader`` takes it; one that is built already is returned as it is.
        seed: of the run.
    """
    if not isinstance(dataloader, dict):
        return dataloader
    dataset = dataloader["dataset"]
    if isinstance(dataset, dict):
        dataset = DATASETS.build(dataset)
        if hasattr(dataset, "full_init"):
            dataset.full_init()
    config = {**dataloader, "dataset": StreamDataset(dataset, seed)}
    if config.get("num_workers"):
        config.setdefault("timeout", _LOADING_TIMEOUT)
    return config


@LOOPS.register_module()
class EpochBasedTrainLoop(_runner.EpochBasedTrainLoop):
    """mmengine's loop of this name, with augmentation that depends on the place in the stream.

    Args:
        runner: the runner.
        dataloader: of the training, or its config.
        max_epochs: length of the training.
        val_begin: first epoch that is validated.
        val_interval: epochs between validations.
        dynamic_intervals: pairs (epoch, ``val_interval`` from there on).
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(
            runner, with_stream(dataloader, runner.seed), max_epochs, val_begin, val_interval, dynamic_intervals
        )


@LOOPS.register_module()
class IterBasedTrainLoop(_runner.IterBasedTrainLoop):
    """mmengine's loop of this name, which resumes exactly, stops on request, and keeps bad losses from the weights.

    * A resumed run begins at its place in the stream of samples at once, and first makes up for a validation that was
      due when the checkpoint was written.
    * SIGTERM and SIGINT end the run after the current iteration, with a checkpoint; see
      :mod:`gcseg.engine.interruption`.
    * A loss that is NaN or infinite, on any process, changes no weights (:mod:`gcseg.engine.guard`); the run ends, or
      goes on with the next batch.

    Args:
        runner: the runner.
        dataloader: of the training, or its config. A worker that gives no batch for ten minutes is taken for stuck,
            unless ``timeout`` (seconds, as in ``torch.utils.data.DataLoader``) says another time.
        max_iters: length of the training.
        val_begin: first iteration that is validated.
        val_interval: iterations between validations.
        dynamic_intervals: pairs (iteration, ``val_interval`` from there on).
        non_finite: what to do about a loss that is not finite: ``"stop"`` or ``"skip"``.
        max_skipped: so many iterations skipped one after the other end the run all the same.

    Raises:
        ConfigError: a value that is not allowed.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: Sequence[tuple[int, int]] | None = None,
        non_finite: str = "stop",
        max_skipped: int = 10,
    ) -> None:
        if non_finite not in ("stop", "skip"):
            raise ConfigError(f"train_cfg.non_finite={non_finite!r}: 'stop' or 'skip' is expected")
        if int(max_iters) != max_iters:
            raise ConfigError(f"train_cfg.max_iters={max_iters!r}: a whole number is expected")
        # Not the parent's: it would start the workers before it is known where in the stream they begin.
        super(_runner.IterBasedTrainLoop, self).__init__(runner, with_stream(dataloader, runner.seed))
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._iter = self._epoch = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.dynamic_milestones, self.dynamic_intervals = _runner.loops.calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )
        self.stop_training = False  # EarlyStoppingHook sets it
        self.non_finite, self.max_skipped = non_finite, max_skipped
        self._skipped = 0
        self._interruption = Interruption()
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, "metainfo", None)

    def run(self) -> Any:
        """Train; see the class.

        Returns:
            The model.

        Raises:
            TrainingError: the loss was not finite.
            DataError: a worker died or is stuck.
            SystemExit: SIGTERM came; the code is 143. KeyboardInterrupt: SIGINT came.
        """
        with self._interruption:
            try:
                self._run()
            except StopRequested:
                self._leave()
            except RuntimeError as e:  # of a worker that died: torch raises it wherever the program is
                if not str(e).startswith("DataLoader worker") or isinstance(e, DataError):
                    raise
                raise DataError(_loading_failed(str(e), self.dataloader)) from e
        return self.runner.model

    def _run(self) -> None:
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self._check_checkpoints()
        # mmengine's checkpoints are written before the validation of their iteration.
        if self._iter and self.runner.message_hub.get_info("last_validated", 0) != self._iter:
            self._validate_if_due()
        self.dataloader_iterator = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(self._next_batch())
            self._check_stop()
            self._validate_if_due()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")

    def run_iter(self, data_batch: Any) -> None:
        """One batch: hooks, step, hooks.

        Raises:
            TrainingError: the loss is not finite and ``non_finite`` does not let it pass.
        """
        runner, wrapper = self.runner, self.runner.optim_wrapper
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        wrapper.stop_wanted = self._interruption.requested is not None
        outputs = runner.model.train_step(data_batch, optim_wrapper=wrapper)
        if getattr(wrapper, "non_finite", False):
            self._note_non_finite(data_batch, outputs)
        else:
            self._skipped = 0
        runner.message_hub.update_info("samples_seen", self._samples_seen() + self._samples_per_iter)
        runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        last = self._iter == self._max_iters
        due = self._iter >= self.val_begin and (self._iter % self.val_interval == 0 or last)
        if self.runner.val_loop is None or not due:
            return
        hub, loop = self.runner.message_hub, self.runner.val_loop
        # Before it: the checkpoint of a new best score is written by the validation's last hook.
        hub.update_info("last_validated", self._iter)
        loop.interruption = self._interruption if get_world_size() == 1 else None
        try:
            loop.run()
        except StopRequested:
            hub.update_info("last_validated", 0)
            for hook in self.runner.hooks:
                if isinstance(hook, EMAHook):  # it had put the averaged weights into the model
                    hook.after_val_epoch(self.runner)
            raise

    # The stream

    @property
    def _samples_per_iter(self) -> int:
        sampler = self.dataloader.batch_sampler
        return getattr(sampler, "batch_size", 1) * get_world_size()

    def _samples_seen(self) -> int:
        # A checkpoint that mmengine wrote does not have it.
        return self.runner.message_hub.get_info("samples_seen", self._iter * self._samples_per_iter)

    def _batches(self) -> Iterator[Any]:
        """Batches from the place on where the run is, without end."""
        sampler = getattr(self.dataloader.batch_sampler, "sampler", None)
        epoch, to_pass = 0, 0
        if isinstance(sampler, InfiniteSampler):
            sampler.start_at(self._samples_seen())
        elif isinstance(sampler, DefaultSampler):
            epoch, batches = divmod(self._iter, max(len(self.dataloader), 1))
            sampler.start_at(batches * self._samples_per_iter)
        elif self._iter:
            to_pass = self._iter
            print_log(
                f"resume: {type(sampler).__name__} cannot start in the middle; {to_pass} batches are loaded and passed "
                "over. InfiniteSampler and DefaultSampler start at once",
                logger="current",
                level=logging.WARNING,
            )
        while True:
            if sampler is not None and hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            empty = True
            for batch in self.dataloader:
                empty = False
                if to_pass:
                    to_pass -= 1
                else:
                    yield batch
            if empty:
                raise ConfigError(
                    f"train_dataloader gives no batch: {len(self.dataloader.dataset)} samples do not fill one of "
                    f"{self._samples_per_iter}; give more data, a smaller batch_size, or drop_last=False"
                )
            epoch += 1

    def _next_batch(self) -> Any:
        try:
            with self._interruption.interruptible(alone=get_world_size() == 1 and self._between_steps):
                return next(self.dataloader_iterator)
        except RuntimeError as e:
            if "DataLoader" not in str(e) or isinstance(e, DataError):
                raise
            raise DataError(_loading_failed(str(e), self.dataloader)) from e

    # What ends a run early

    @property
    def _iters_per_step(self) -> int:
        return getattr(self.runner.optim_wrapper, "_accumulative_counts", 1)

    @property
    def _between_steps(self) -> bool:
        """No gradients are waiting for the step they belong to; a checkpoint would not have them."""
        return self._iter % self._iters_per_step == 0

    def _check_checkpoints(self) -> None:
        for hook in self.runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.interval > 0 and hook.interval % self._iters_per_step:
                print_log(
                    f"checkpoints every {hook.interval} iterations fall between the {self._iters_per_step} whose "
                    "gradients make one step (accumulative_counts), and a run that resumes from one has lost those of "
                    "the first part; make the interval a multiple",
                    logger="current",
                    level=logging.WARNING,
                )

    def _check_stop(self) -> None:
        wrapper = self.runner.optim_wrapper
        wanted = getattr(wrapper, "stop_agreed", self._interruption.requested is not None)
        if wanted and self._between_steps:
            raise StopRequested

    def _leave(self) -> None:
        runner = self.runner
        for hook in runner.hooks:
            if isinstance(hook, RuntimeInfoHook):
                hook.flush(runner)  # into the message hub, and so into the checkpoint
        file = next((h.save_now(runner) for h in runner.hooks if hasattr(h, "save_now")), None)
        where = f"its checkpoint is {file}; --resume goes on from there" if file else "no CheckpointHook: nothing saved"
        print_log(f"{self._interruption.name}: stopped after iteration {self._iter}; {where}", logger="current")
        runner.visualizer.close()
        self._interruption.leave()

    def _note_non_finite(self, data_batch: Any, outputs: dict[str, Any]) -> None:
        losses = ", ".join(f"{key}={float(torch.as_tensor(value).detach()):g}" for key, value in outputs.items())
        samples = data_batch.get("data_samples", ()) if isinstance(data_batch, dict) else ()
        files = ", ".join(str(sample.get("img_path", "?")) for sample in samples) or "unknown"
        text = (
            f"the loss of iteration {self._iter + 1} is not finite on this process or another ({losses}; images: "
            f"{files}). The weights are those of iteration {self._iter}"
        )
        self._skipped += 1
        if self.non_finite == "stop" or self._skipped > self.max_skipped:
            raise TrainingError(
                f"{text}. Look at these images and their labels; lower the learning rate, clip gradients "
                "(optim_wrapper.clip_grad), compute in bfloat16 or float32; or train_cfg.non_finite='skip' leaves such "
                f"batches out ({self._skipped} in a row so far, at most {self.max_skipped})"
            )
        print_log(f"{text}; skipped", logger="current", level=logging.WARNING)


def _loading_failed(text: str, dataloader: DataLoader) -> str:
    if "timed out" in text:
        return (
            f"no batch came from {dataloader.num_workers} loading processes within {dataloader.timeout:g} s: one of "
            "them is stuck, on a file system that does not answer or on a lock. num_workers=0 shows where; "
            "train_dataloader.timeout sets another time (0 waits for ever)"
        )
    line = text.strip().splitlines()[0].rstrip(" .")
    return (
        f"a loading process died: {line}. Killed by the system it mostly ran out of memory (see dmesg): use fewer "
        "train_dataloader.num_workers or a smaller batch; 'Bus error' means that shared memory is full (docker run "
        "--shm-size=8g)"
    )
