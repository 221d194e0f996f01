"""Stop a training whose loss, gradient, reward or weights are not finite, before anything is spoiled.

transformers' trainer by itself logs such a loss as 0 and takes the update: from then on every weight is NaN.
"""

from __future__ import annotations

import functools
import inspect
import math
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from r1_aqa.trainers.run_folder import any_process

Reward = Callable[..., Any]
SHOWN = 8
"""Questions that an error names."""


class TrainingError(ValueError):
    """A training cannot go on; the message says at which update, with which questions, and what to do."""


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all numbers are finite; of tensors that are split over processes, those of this one."""
    # The largest magnitude, not a norm: squares of float16 would overflow.
    local = [_local(tensor).detach() for tensor in tensors]
    local = [tensor for tensor in local if tensor.numel()]
    if not local:
        return True
    return math.isfinite(float(torch.nn.utils.get_total_norm(local, float("inf"))))


def _local(tensor: Any) -> Tensor:
    """Return this process's part of a tensor: of FSDP 2, of ZeRO-3 (where the tensor itself is empty)."""
    return getattr(tensor, "_local_tensor", getattr(tensor, "ds_tensor", tensor))


def require_finite_weights(model: torch.nn.Module, step: int) -> None:
    """Raise before weights that are not finite are saved.

    Raises:
        TrainingError: in all processes.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = trained[0].device if trained else torch.device("cpu")
    if any_process(not are_finite(trained), device):
        raise TrainingError(
            f"weights are not finite after update {step}, and are not saved; lower learning_rate; the same "
            "command goes on from the last checkpoint"
        )


# -- rewards --------------------------------------------------------------------------------------------


class WatchedRewards:
    """Reward functions whose results are checked, and what was wrong with them.

    None means that a reward does not apply to a rollout: TRL leaves it out of the rollout's sum. Whatever
    else is no finite number, for which TRL would fail somewhere else or not at all, becomes infinity here.
    TRL hands that on to all processes, and `raise_faults` then raises in all of them.

    Args:
        rewards: functions as `r1_aqa.rewards.rewards` has them, or TRL's asynchronous ones.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        self.functions = [self._watch(reward) for reward in rewards]
        self._faults: list[str] = []
        self._cause: Exception | SystemExit | None = None

    def raise_faults(self, rewards: Tensor, step: int, ids: Sequence[str]) -> None:
        """Raise if a reward of any process is not finite, or if none applies to a rollout.

        Args:
            rewards: `(rollouts, functions)`, of all processes; NaN where a reward does not apply.
            step: the update that was to learn from them.
            ids: the questions of this process's rollouts.

        Raises:
            TrainingError: the message names the reward and the questions.
        """
        if rewards.isinf().any():
            faults = list(dict.fromkeys(gather_object(self._faults)))
            told = "; ".join(faults) or "a reward is not finite"
            raise TrainingError(
                f"{told} (at update {step}); no weights have taken this update. A reward must return a "
                "finite number for each completion, or None where it does not apply; the same command goes "
                "on from the last checkpoint"
            ) from self._cause
        if (unscored := rewards.isnan().all(1)).any():
            asked = gather_object(list(ids))
            names = name_questions(asked[place] for place in unscored.nonzero()[:, 0].tolist())
            raise TrainingError(
                f"no reward applies to {int(unscored.sum())} of {len(rewards)} rollouts, of questions "
                f"{names} (at update {step}): all rewards returned None; no weights have taken this update. "
                "Add a reward that applies to these questions, or leave them out"
            )

    def _watch(self, reward: Reward) -> Reward:
        if inspect.iscoroutinefunction(reward):

            @functools.wraps(reward)
            async def later(**given: Any) -> list[float | None]:
                try:
                    found = await reward(**given)
                except (Exception, SystemExit) as error:  # whatever a user's function raises
                    found = error
                return self._checked(reward, found, given)

            return later

        @functools.wraps(reward)
        def now(**given: Any) -> list[float | None]:
            try:
                found = reward(**given)
            except (Exception, SystemExit) as error:  # whatever a user's function raises
                found = error
            return self._checked(reward, found, given)

        return now

    def _checked(self, reward: Reward, found: Any, given: dict[str, Any]) -> list[float | None]:
        name, count = getattr(reward, "__name__", repr(reward)), len(given["completions"])
        ids = given.get("question_id") or ["?"] * count
        nothing: list[float | None] = [math.inf] * count
        if isinstance(found, Exception | SystemExit):
            self._cause = found
            self._faults.append(f"the reward {name} {_raised(found)}, with questions {name_questions(ids)}")
            return nothing
        try:
            values = list(found)
        except TypeError:
            self._faults.append(f"the reward {name} returned {_shown(found)} in place of {count} numbers")
            return nothing
        if isinstance(found, str | bytes | dict) or len(values) != count:
            kind = type(found).__name__
            self._faults.append(
                f"the reward {name} returned a {kind} of {len(values)} for {count} completions"
            )
            return nothing
        numbers = [None if value is None else _number(value) for value in values]
        bad = [place for place, number in enumerate(numbers) if number == math.inf]
        if bad:
            self._faults.append(
                f"the reward {name} is {_shown(values[bad[0]])} for {len(bad)} of {count} completions, of "
                f"questions {name_questions([ids[place] for place in bad])}"
            )
        return numbers


def _number(value: Any) -> float:
    """Return a reward as a number; infinity for what is none, and for what TRL's float32 does not hold."""
    if isinstance(value, str | bytes):
        return math.inf
    try:
        number = float(value)
        return number if abs(number) <= torch.finfo(torch.float32).max else math.inf
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor of several numbers
        return math.inf


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _raised(error: Exception | SystemExit) -> str:
    """Return what a function raised, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    try:
        text = f"{error!s:.200}"
    except Exception:  # it is the user's own kind of error
        text = "?"
    return f"raised {type(error).__name__}: {text} ({Path(frame.filename).name}:{frame.lineno})"


def name_questions(ids: Iterable[str]) -> str:
    """Return the ids of questions for an error, each once, the first ones."""
    names = list(dict.fromkeys(ids))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
