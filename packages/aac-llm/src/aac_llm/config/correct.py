"""Settings of `aac-llm correct`, and of correction in `aac-llm caption`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aac_llm.config.ray import RayConfig


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig:
    """Which captions are repaired, and by which language model."""

    llm: str | None = None
    """Language model: folder or hub id of an instruction-tuned causal model; with an endpoint, the name by
    which it knows the model."""
    endpoint: str | None = None
    """Address of an OpenAI-compatible service up to its version, e.g. http://localhost:8000/v1 (none: the
    model runs here)."""
    api_key_variable: str = "AAC_LLM_API_KEY"
    """Environment variable with the endpoint's key; unset: none is sent."""
    gate: Literal["auto", "rules", "fluency", "both", "lm"] = "auto"
    """Detector of captions that need repair: `rules` (repetition, dangling ends ...), `fluency` (a trained
    detector, see fluency_model), `both` (either of the two), `lm` (surprise of the local language model);
    auto: both where there is a detector (fluency if threshold is set, which is then the detector's), else
    rules."""
    fluency_model: str | None = None
    """For gate fluency: folder that `aac-llm fluency` wrote; or name of FENSE's published detector, its
    .ckpt file, or a folder with it (none: the folder `fluency` in AAC_LLM_CACHE or ~/.cache/aac-llm, if there
    is one)."""
    threshold: float | None = None
    """Repair captions whose score is at least this; none: 0.5 for rules and both, for fluency (probability of
    an error) the detector's own, of the published ones 0.9, for lm 7 (nats per token)."""
    choose: bool = False
    """Before a caption is rewritten, look for a candidate (n-best of `caption --num_candidates`) that the
    gate lets pass, and take the most probable one, if possible of the same sound events. Without llm no
    caption is rewritten."""
    sound_scorer: str | None = None
    """Command of a program that says how well a text fits a sound: from lines {"audio": path, "text": text}
    on its standard input to lines {"similarity": number} on its output. A caption's repair is not taken if
    it fits worse (sound_margin), and choose takes the candidate that fits best."""
    sound_margin: float = 0.05
    """With sound_scorer: a repair's similarity may be lower than the caption's by so much."""
    sound_timeout: float = 600.0
    """With sound_scorer: seconds for one run of the program, which gets the repairs of up to 64 captions."""
    max_new_tokens: int = 64
    """Most tokens of an answer."""
    batch_size: int = 16
    """Captions that the local model answers at once."""
    device: str = "auto"
    """Device of the local model: `cpu`, `cuda`, `cuda:1` ...; auto: the first GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the local model; auto: bfloat16 on a GPU, float32 elsewhere."""
    request_timeout: float = 30.0
    """Seconds to wait for an answer of the endpoint."""
    max_retries: int = 3
    """Retries of a request when the endpoint is busy, broken or not there."""
    concurrency: int = 4
    """Requests to the endpoint at the same time."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch_size", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("request_timeout", "sound_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not self.sound_margin >= 0:
            raise ValueError(f"sound_margin must not be negative, got {self.sound_margin}")
        if self.max_retries < 0:
            raise ValueError(f"max_retries must not be negative, got {self.max_retries}")
        self._check_gate()
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint must begin with http:// or https://, got {self.endpoint!r}")

    def _check_gate(self) -> None:
        if self.gate in ("rules", "lm") and self.fluency_model is not None:
            raise ValueError(f"fluency_model goes with gate fluency or both, got gate {self.gate}")
        if self.gate == "lm" and self.choose and self.llm is None:
            raise ValueError("gate lm needs a language model: give llm")
        if self.gate == "lm" and self.endpoint is not None:
            raise ValueError("gate lm needs a local language model: an endpoint gives no probabilities")

    @property
    def gate_used(self) -> Literal["rules", "fluency", "both", "lm"]:
        """The gate that `auto` stands for, where no detector lies in the default place."""
        if self.gate != "auto":
            return self.gate
        if self.fluency_model is None:
            return "rules"
        # A threshold is of one scale: that of the detector, as it was before there were both.
        return "both" if self.threshold is None else "fluency"


@dataclass(frozen=True, kw_only=True)
class CorrectConfig(CorrectionConfig):
    """Repair captions with a language model; a caption stays as it was unless the repair is sound.

    A repair must be better by the gate and say the same: no sound event, number, order, place, loudness or
    negation may come, go or change. The same command goes on after a kill, and asks again where the model
    gave no answer.
    """

    predictions: Path
    """File of captions, as `aac-llm caption` writes it, or DCASE's table (.csv: file_name,
    caption_predicted) or COCO's results (.json); `-`: the standard input."""
    out: Path
    """The same captions, repaired, with what they were and why; beside it, OUT.report.json has the
    settings. `-`: the standard output, without a report."""
    overwrite: bool = False
    """Begin anew if --out exists."""
    engine: Literal["local", "ray"] = "local"
    """What runs the job: this process (`local`), or the workers of a Ray cluster (`ray`; `pip install
    aac-llm[ray]`), for a language model that runs here; a caption counts as a second of a block."""
    ray: RayConfig = field(default_factory=RayConfig)
    """With engine ray: the cluster, its workers and their blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.llm is None and not self.choose:
            raise ValueError(
                "no language model: give --llm (folder, hub id, or the endpoint's name of it), or "
                "--choose to take one of a caption's candidates"
            )
        if str(self.out) != "-" and self.out.absolute() == self.predictions.absolute():
            raise ValueError(f"out must be another file than the predictions, got {self.out}")
        if self.engine == "ray" and self.endpoint is not None:
            raise ValueError(
                "engine ray runs the language model itself, and endpoint names one elsewhere, which takes "
                "requests as fast as it can answer them from one machine (--concurrency): give one of the two"
            )
        if self.engine == "ray" and str(self.out) == "-":
            raise ValueError("engine ray puts parts together in a file: give --out a name other than -")
