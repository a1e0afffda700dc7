"""Early stopping that a resumed run goes on with."""

from __future__ import annotations

from typing import Any

from mmengine import hooks as _hooks

from gcseg.registry import HOOKS


@HOOKS.register_module()
class EarlyStoppingHook(_hooks.EarlyStoppingHook):
    """mmengine's hook of this name; its count of validations without progress goes into the checkpoint."""

    priority = "LOW"  # before the checkpoint hook writes a new best score; mmengine's comes after it

    def before_train(self, runner: Any) -> None:
        """Take up the count of the run that is resumed."""
        saved = runner.message_hub.get_info("early_stopping")
        if saved is not None:
            self.wait_count, self.best_score = saved["wait_count"], saved["best_score"]

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Decide, and note the count."""
        super().after_val_epoch(runner, metrics)
        state = {"wait_count": self.wait_count, "best_score": float(self.best_score)}
        runner.message_hub.update_info("early_stopping", state)
