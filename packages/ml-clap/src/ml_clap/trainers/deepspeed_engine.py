"""Weights, gradients and optimizer shared out by DeepSpeed ZeRO: stages 1, 2 (the latter two), 3 (all).

DeepSpeed's own checkpoints bind a run to its number of processes, and are pickles. Here the whole state is
gathered, one weight at a time, and written by the main process as that of any other run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from ml_clap.config.train import TrainConfig
from ml_clap.trainers.named_state import MOMENTS, NamedState, learning
from ml_clap.trainers.optimizer import set_learning_rate


class DeepSpeedEngine:
    """See `ml_clap.trainers.engine.Engine`.

    Args:
        accelerator: Wraps model and optimizer.
        towers: On its device.
        optimizer: Of its parameters.
        config: Of the run.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        towers: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
    ) -> None:
        self.accelerator = accelerator
        self.model: nn.Module = towers.model  # type: ignore[assignment]
        plugin = accelerator.state.deepspeed_plugin
        self.stage: int = plugin.zero_stage
        # An update's batches are counted and weighed by the learner: to DeepSpeed each update is one batch.
        plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": config.batch_size,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": config.max_grad_norm or 0.0,
        }
        self.towers, self.optimizer = accelerator.prepare(towers, optimizer)
        if self.stage == 3:
            self._hold_audio_encoder(towers)

    def _hold_audio_encoder(self, towers: nn.Module) -> None:
        """Let the whole hold the audio encoder's weights, and the model's own, from layer to layer.

        DeepSpeed gathers a module's weights for the backward pass when a gradient reaches its output, which
        it does not see in the encoder's dataclass. It is the smaller of the two: 86 M weights at most.
        """
        from deepspeed.runtime.zero import register_external_parameter

        own = self.model.parameters(recurse=False)
        for weight in (*own, *self.model.audio_encoder.parameters()):  # type: ignore[union-attr]
            register_external_parameter(towers, weight)

    def synced(self, is_last: bool) -> AbstractContextManager[None]:
        """Let the next backward pass be an update's last one, or not."""
        self.towers.set_gradient_accumulation_boundary(is_last)  # type: ignore[operator]
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Go back through the graph of a scalar."""
        self.towers.backward(loss)  # type: ignore[operator]

    def step(self, rate: float, limit: float | None, check: Callable[[float], None]) -> float:
        """Clip the gradients, update the weights, and return the norm; see `Engine`.

        `check` comes after the update, for DeepSpeed has no norm before: no checkpoint has the weights of an
        update that it refuses.
        """
        set_learning_rate(self.optimizer, rate)
        self.towers.step()  # type: ignore[operator]
        norm = float(self.towers.get_global_grad_norm() or 0.0)  # type: ignore[operator]
        check(norm)
        return norm

    def whole_state(self, average: dict[str, Tensor] | None) -> NamedState | None:
        """Return whole tensors on the CPU, on the main process; all must call this."""
        from deepspeed.utils import safe_get_full_optimizer_state

        state: NamedState = {"weight": self._gather_weights(), "step": {}, **{kind: {} for kind in MOMENTS}}
        step = self._link_state()[0]["step"]
        for name, weight in learning(self.model).items():
            for kind in MOMENTS:
                found = safe_get_full_optimizer_state(weight, kind)
                if self.accelerator.is_main_process:
                    state[kind][name] = found.cpu().view(_shape(weight))
            state["step"][name] = torch.as_tensor(float(step))
        return state if self.accelerator.is_main_process else None

    def whole_weights(self, values: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """Return the weights that learn, as `whole_state` does."""
        gathered = self._gather_weights()
        return gathered if self.accelerator.is_main_process else None

    def _gather_weights(self) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_fp32_param

        gathered = {}
        for name, weight in learning(self.model).items():
            found = safe_get_full_fp32_param(weight)
            if self.accelerator.is_main_process:
                gathered[name] = found.detach().cpu().view(_shape(weight)).clone()
        return gathered

    def load(self, state: NamedState, average: dict[str, Tensor] | None) -> None:
        """Take over whole tensors, the same on every process."""
        linked = self._link_state()
        set_state = self._set_parts if self.stage == 3 else self._set_whole
        for name, weight in learning(self.model).items():
            set_state(weight, {kind: state[kind][name] for kind in ("weight", *MOMENTS)})
        for own in linked:
            own["step"].copy_(next(iter(state["step"].values())))

    def _set_parts(self, weight: nn.Parameter, values: dict[str, Tensor]) -> None:
        """Set what ZeRO-3 keeps of a weight in this process: an equal part, the last one padded."""
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        with GatheredParameters([weight], modifier_rank=0), torch.no_grad():
            weight.data.copy_(values["weight"].view(_shape(weight)))
        size = weight.ds_tensor.ds_numel  # type: ignore[attr-defined]
        first = size * self.accelerator.process_index
        parts = {}
        for kind, value in values.items():
            part = value.flatten()[first : first + size].to(self.accelerator.device, torch.float32)
            parts[kind] = F.pad(part, (0, size - len(part)))
        safe_set_local_fp32_param(weight, parts["weight"])
        for kind in MOMENTS:
            safe_set_local_optimizer_state(weight, parts[kind], kind)

    def _set_whole(self, weight: nn.Parameter, values: dict[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        values = {kind: value.to(self.accelerator.device) for kind, value in values.items()}
        weight.data.copy_(values["weight"])
        safe_set_full_fp32_param(weight, values["weight"])
        for kind in MOMENTS:
            safe_set_full_optimizer_state(weight, values[kind], kind)

    def not_finite(self) -> list[str]:
        """Return the names of weights that are not finite in what this process holds of them."""
        held = {
            name: getattr(weight, "ds_tensor", weight.detach())
            for name, weight in self.model.named_parameters()
        }
        return [name for name, value in held.items() if not value.isfinite().all()]

    def scalar(self, weight: Tensor) -> float:
        """Return the value of a parameter of one element; all must call this."""
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters([weight]):
            return float(weight.detach())

    def _link_state(self) -> list[dict[str, Tensor]]:
        """Return torch's state of each group of weights; what it does not have yet is made, with zeros.

        To each weight DeepSpeed links its place in this state, in stages 1 and 2 as soon as the first group has
        one: the others' would not be found.
        """
        outer: Any = self.towers.optimizer
        flat = (
            outer.fp32_partitioned_groups_flat if self.stage == 3 else outer.single_partition_of_fp32_groups
        )
        states = [outer.optimizer.state[group] for group in flat]
        for group, state in zip(flat, states, strict=True):
            state.setdefault("step", torch.tensor(0.0))
            for kind in MOMENTS:
                state.setdefault(kind, torch.zeros_like(group.detach()))
        if self.stage < 3:
            outer._hp_optimizer_states_linked = False
            outer._lazy_init_hp_params_optimizer_state()
        return states


def _shape(weight: Tensor) -> torch.Size:
    """Return the shape of a whole weight: of one in parts, only DeepSpeed knows it."""
    return getattr(weight, "ds_shape", weight.shape)
