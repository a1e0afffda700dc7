"""Checkpoints that replace older ones only when they stand, and whose failure does not end a training."""

from __future__ import annotations

import copy
import errno
import inspect
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook

from gcseg.engine.atomic_files import AtomicLocalBackend, held_write, install_atomic_files
from gcseg.registry import HOOKS
from gcseg.utils.atomic import check_folder, remove_leftovers, write_atomically
from gcseg.utils.errors import CheckpointError, ConfigError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.quiet import without_lines

# What a fault of disk or memory raises: it may be gone at the next checkpoint. Any other error is one of the program.
_FAULTS = (OSError, MemoryError)
_OWN_RECORDS = ("keep_ckpt_ids", "last_ckpt", "best_ckpt_path", "best_ckpt_path_dict", "_outdated")
_HUB_RECORDS = ("keep_ckpt_ids", "last_ckpt", "best_ckpt", "best_score")
_OF_MMENGINE = '"FileClient" will be deprecated'  # which it says of itself
_OTHER_FOLDER = "resume with another --cfg-options default_hooks.checkpoint.out_dir=FOLDER"
_REMEDIES = {
    errno.ENOSPC: f"Free some space there, or {_OTHER_FOLDER}",
    errno.EDQUOT: f"Free some of your quota there, or {_OTHER_FOLDER}",
    errno.EFBIG: "Raise the limit of the shell (ulimit -f)",
}


@dataclass
class _Save:
    """A checkpoint on its way to the disk."""

    path: str
    kind: str  # "last", or the metric it is the best by
    undo: Callable[[], None]  # takes back what hook and message hub have noted about it
    obsolete: list[str]  # files that go when it stands
    marker: Path | None  # names it when it stands
    said: str = ""  # logged when it stands
    data: bytes | None = None
    error: Exception | None = None
    thread: threading.Thread | None = field(default=None, repr=False)


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's hook of this name, with its options, for runs that must not be lost.

    * A file is whole or absent, and older ones are removed after the new one stands; the disk must hold one more than
      ``max_keep_ckpts``.
    * A checkpoint that cannot be written is an error in the log. The older ones stay, the training goes on, and the
      next interval is the next try. A run whose newest checkpoint, or best one, could not be written ends with a
      ``CheckpointError``, and a folder that cannot be written is one before the first iteration.

    Args:
        background: write the file in a thread while the training goes on. The state is copied before; until it is
            written, its bytes stay in memory. The next checkpoint and the end of the run wait for it.
        args, kwargs: mmengine's.
    """

    out_dir: str | Any
    keep_ckpt_ids: deque
    last_ckpt: str | None
    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]

    def __init__(self, *args: Any, background: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.background = background
        self._pending: _Save | None = None
        self._unsaved: dict[str, str] = {}  # kind of checkpoint -> why its newest is not there
        self._outdated: list[str] = []  # former best ones that the newest periodic checkpoint still speaks of

    def before_train(self, runner: Any) -> None:
        """Settle the folder and see that it can be written.

        Raises:
            CheckpointError: it cannot.
            ConfigError: an option that does not exist.
        """
        self._check_options(runner)
        install_atomic_files()
        if self.out_dir is not None:
            self.out_dir = os.path.expanduser(str(self.out_dir))
        with without_lines(_OF_MMENGINE):
            super().before_train(runner)
        problem = None
        if is_main_process() and isinstance(self.file_backend, AtomicLocalBackend):
            try:
                check_folder(str(self.out_dir))
            except OSError as e:
                problem = (
                    f"checkpoints cannot be written into {self.out_dir}: {e.strerror or e}. Make that folder writable, "
                    "or give another by --work-dir or default_hooks.checkpoint.out_dir"
                )
            for folder in {str(self.out_dir), str(runner.work_dir)}:
                for part in remove_leftovers(folder):
                    runner.logger.info(f"Removed {part}, which a run that was killed left unfinished.")
        problem = _told_by_main(problem)
        if problem is not None:
            raise CheckpointError(problem)

    def after_train(self, runner: Any) -> None:
        """Wait for what is being written, and publish.

        Raises:
            CheckpointError: the newest checkpoint could not be written.
        """
        self._settle(runner)
        problems = list(self._unsaved.values())
        try:
            super().after_train(runner)
        except OSError as e:
            problems.append(f"the published checkpoint was not written: {e}")
        if problems:
            raise CheckpointError(f"the run ends without all of its checkpoints: {' '.join(problems)}")

    def save_now(self, runner: Any) -> str:
        """Write a checkpoint of the state between two iterations, and wait until it stands.

        Every process has to call it. There is nothing to do when the checkpoint of ``runner.iter`` (with ``by_epoch``:
        of ``runner.epoch``) stands already.

        Returns:
            Its path.

        Raises:
            CheckpointError: it could not be written.
        """
        self._settle(runner)
        step = runner.epoch if self.by_epoch else runner.iter
        path = self._path(self.filename_tmpl.format(step))
        if self.last_ckpt != path or not self.file_backend.exists(path):
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            problem = self._save_checkpoint_with_step(runner, step, meta) or self._settle(runner)
            if problem is not None:
                raise CheckpointError(problem)
        return path

    def wait(self) -> None:
        """Let what is being written come to its end; an error is in the log."""
        if self._pending is not None and self._pending.thread is not None:
            self._pending.thread.join()

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> str | None:
        self._settle(runner)
        undo = self._records(runner)
        obsolete, self._outdated = self._outdated, []
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            kept = [*(s for s in self.keep_ckpt_ids if s != step), step]
            obsolete += [self._path(self.filename_tmpl.format(s)) for s in kept[: -self.max_keep_ckpts]]
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self._path(filename)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        save = _Save(self.last_ckpt, "last", undo, obsolete, Path(runner.work_dir) / "last_checkpoint")
        return self._save(
            runner,
            save,
            filename,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            **self.args,
        )

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        if not self.save_best:
            return
        if "auto" in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        step = runner.epoch if self.by_epoch else runner.iter
        improved = [self._save_best(runner, key, metrics, step) for key in self.key_indicators]
        # The periodic checkpoint of this step, if there is one, was written before the validation and does not know.
        if any(improved) and self.last_ckpt is not None:
            self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=runner.iter))

    def _save_best(self, runner: Any, key: str, metrics: dict, step: int) -> bool:
        """Write the best checkpoint by one metric, if this is it."""
        if key not in metrics:
            raise ConfigError(
                f"default_hooks.checkpoint.save_best: {unknown_name_message('metric of the validation', key, metrics)}"
            )
        self._settle(runner)
        hub, single = runner.message_hub, len(self.key_indicators) == 1
        score_key, path_key = ("best_score", "best_ckpt") if single else (f"best_score_{key}", f"best_ckpt_{key}")
        score = metrics[key]
        rule = self.rules[self.key_indicators.index(key)]
        before = hub.get_info(score_key) if score_key in hub.runtime_info else self.init_value_map[rule]
        if score is None or not self.is_better_than[key](score, before):
            return False
        undo = self._records(runner)
        filename = f"best_{key}_{self.filename_tmpl.format(step)}".replace("/", "_")
        path, old = self._path(filename), self.best_ckpt_path if single else self.best_ckpt_path_dict.get(key)
        if single:
            self.best_ckpt_path = path
        else:
            self.best_ckpt_path_dict[key] = path
        hub.update_info(score_key, score)
        hub.update_info(path_key, path)
        outdated = [old] if old and old != path else []
        if self.last_ckpt is not None:
            self._outdated, outdated = self._outdated + outdated, []
        unit = "epoch" if self.by_epoch else "iter"
        said = f"The best checkpoint with {score:0.4f} {key} at {step} {unit} is saved to {filename}."
        problem = self._save(
            runner,
            _Save(path, key, undo, outdated, None, said),
            filename,
            save_optimizer=False,
            save_param_scheduler=False,
            meta=dict(epoch=runner.epoch, iter=runner.iter),
            by_epoch=False,
        )
        return problem is None

    def _save(self, runner: Any, save: _Save, filename: str, **options: Any) -> str | None:
        """Take the state, and write it or have it written.

        Returns:
            None, or why it was not written.
        """
        backends = dict(file_client_args=self.file_client_args, backend_args=self.backend_args)
        try:
            with held_write(save.path) as held, without_lines(_OF_MMENGINE):
                runner.save_checkpoint(self.out_dir, filename, **backends, **options)
            save.data = held.data
        except Exception as e:
            if not is_main_process():
                raise
            save.error = e
        self._pending = save
        if is_main_process():
            if self.background and save.data is not None:
                # No daemon: the interpreter waits for it, whatever the run ends by.
                save.thread = threading.Thread(target=self._finish, args=(runner, save), name="checkpoint")
                save.thread.start()
            else:
                self._finish(runner, save)
        return None if self.background else self._settle(runner)

    def _finish(self, runner: Any, save: _Save) -> None:
        """Write the file and then what depends on it; in a thread, or in the training's."""
        size = len(save.data) if save.data is not None else None
        try:
            if save.data is not None:
                write_atomically(save.path, save.data)
        except Exception as e:
            save.error = e
        save.data = None
        if save.error is not None:
            if isinstance(save.error, _FAULTS):
                save.error = _Unwritten(_explain(save.path, save.error, size))
                runner.logger.error(
                    f"{save.error} The earlier checkpoints are as they were. The training goes on; the next "
                    "checkpoint is the next try."
                )
            return
        try:
            if save.marker is not None:
                write_atomically(save.marker, save.path.encode())
            for path in save.obsolete:
                if path != save.path and self.file_backend.isfile(path):
                    self.file_backend.remove(path)
                elif path != save.path and self.file_backend.isdir(path):  # of deepspeed
                    self.file_backend.rmtree(path)
        except OSError as e:
            runner.logger.warning(f"{save.path} stands, but what it replaces was not tidied up: {e}")
        if save.said:
            runner.logger.info(save.said)

    def _settle(self, runner: Any) -> str | None:
        """Wait for the checkpoint under way, and let all processes agree on what became of it.

        Returns:
            None, or why it was not written.

        Raises:
            Exception: a fault of the program, on the process that had it. CheckpointError: the same, on the others.
        """
        self.wait()
        save, self._pending = self._pending, None
        if save is None:
            return None
        error = save.error
        told = None if error is None else (isinstance(error, _Unwritten), str(error) or repr(error))
        told = _told_by_main(told)
        if told is None:
            self._unsaved.pop(save.kind, None)
            return None
        save.undo()
        is_fault, text = told
        if not is_fault:
            raise error if error is not None else CheckpointError(f"{save.path}: the main process failed: {text}")
        self._unsaved[save.kind] = text
        return text

    def _records(self, runner: Any) -> Callable[[], None]:
        """A function that brings back what hook and message hub now know about checkpoints."""
        own = {name: copy.copy(getattr(self, name)) for name in _OWN_RECORDS if hasattr(self, name)}
        info = runner.message_hub.runtime_info
        noted = {key: copy.copy(value) for key, value in info.items() if key.startswith(_HUB_RECORDS)}

        def undo() -> None:
            self.__dict__.update(own)
            for key in [key for key in info if key.startswith(_HUB_RECORDS) and key not in noted]:
                runner.message_hub.pop_info(key)
            for key, value in noted.items():
                runner.message_hub.update_info(key, value)

        return undo

    def _path(self, filename: str) -> str:
        return str(self.file_backend.join_path(self.out_dir, filename))

    def _check_options(self, runner: Any) -> None:
        parameters = inspect.signature(runner.save_checkpoint).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        taken = {"out_dir", "filename", "meta", "by_epoch", "backend_args", "file_client_args"}
        allowed = set(parameters) - taken - {"save_optimizer", "save_param_scheduler"}
        for key in self.args:
            if key not in allowed:
                options = set(inspect.signature(_CheckpointHook.__init__).parameters) - {"self", "kwargs"}
                message = unknown_name_message("key of CheckpointHook", key, allowed | options | {"background"})
                raise ConfigError(f"default_hooks.checkpoint: {message}")


class _Unwritten(Exception):
    """A checkpoint that disk or memory did not take; says which, why, and what to do."""


def _explain(path: str, error: Exception, size: int | None) -> str:
    number = getattr(error, "errno", None) or 0
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    folder = Path(path).parent
    if size is not None:
        reason += f" ({size / 1e6:.1f} MB are to be written"
        try:
            reason += f", {shutil.disk_usage(folder).free / 1e6:.1f} MB are free)"
        except OSError:
            reason += ")"
    default = f"See that the folder {folder} is there and can be written, or {_OTHER_FOLDER}"
    return f"checkpoint {path} was not written: {reason}. {_REMEDIES.get(number, default)}."


def _told_by_main(value: Any) -> Any:
    """What the main process knows, on all processes."""
    if get_world_size() == 1:
        return value
    told = [value]
    broadcast_object_list(told, src=0)
    return told[0]


def wait_for_checkpoints(hooks: Iterable[Any]) -> None:
    """Let the checkpoints that are being written come to their end."""
    for hook in hooks:
        if isinstance(hook, CheckpointHook):
            hook.wait()
