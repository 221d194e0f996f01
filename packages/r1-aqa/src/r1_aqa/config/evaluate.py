"""Settings of `r1-aqa evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import check_decoding

from r1_aqa.config.model import PromptStyle
from r1_aqa.config.ray import RayConfig
from r1_aqa.config.sound import SoundConfig

BadRows = Literal["wrong", "skip"]
"""What becomes of rows that cannot be used: they count as wrong, or are left out of the scores."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Answer the questions of a benchmark and score the answers."""

    data: str
    """mmau-test-mini, mmau-test, mmau-pro, mmar or mmsu, maybe with @REVISION, a folder as such a data set
    is on the hub, or a file of questions; `-`: standard input. Or WebDataset shards (.tar, a folder of them,
    a pattern as `test-{000000..000039}.tar`), each sound with its question in its .json. Each may be an
    fsspec URL; a sound in a shard is named SHARD/MEMBER, also in a file of questions."""
    model: str | None = None
    """Audio LLM: hub id, folder of a model or of adapters, or a run (its best model); or give an endpoint."""
    out: Path
    """Folder of answers and scores; the same command again resumes there."""
    family: str | None = None
    """`FILE.py:NAME`: a `Family` of your own for a kind of model not known here; the file is run."""
    engine: Literal["transformers", "vllm", "ray"] = "transformers"
    """What runs the model: transformers, vLLM (`pip install vllm`, a GPU), or transformers in the workers of
    a Ray cluster (`ray`; `pip install r1-aqa[ray]`)."""
    ray: RayConfig = field(default_factory=RayConfig)
    """With engine ray: the cluster, its workers and their blocks."""
    endpoint: str | None = None
    """Ask an OpenAI-compatible service that hears: its address up to the version, e.g.
    http://localhost:8000/v1 (none: the model runs here)."""
    endpoint_model: str | None = None
    """The model's name at the endpoint."""
    api_key_variable: str = "R1_AQA_API_KEY"
    """Environment variable with the endpoint's key; unset: none is sent."""
    request_timeout: float = 120.0
    """Seconds to wait for an answer of the endpoint."""
    max_retries: int = 3
    """Retries of a request when the endpoint is busy, broken or not there."""
    concurrency: int = 4
    """Requests to the endpoint at the same time."""
    audio: Path | None = None
    """Folder or URL of the benchmark's audio; none: beside its file, or in its shards."""
    split: str | None = None
    """Ask only the questions of this split; none: all."""
    limit: int | None = None
    """Ask only this many questions, the first ones; none: all."""
    bad_rows: BadRows = "wrong"
    """Rows that cannot be used (no JSON, an answer that is no option) count as `wrong`, or are left out."""
    by: tuple[str, ...] = ()
    """Further columns of the file to break accuracies down by, beside task, category, difficulty, ..."""
    prompt: PromptStyle = "answer"
    """The paper's prompts 1 (`choices`), 2 (`answer`), 3 (`think`), or `think_short`."""
    template: Path | None = None
    """File with a prompt of one's own in Jinja's language, which knows `question`, `choices`, `lettered`
    (pairs of letter and option) and `num_audios`, and may set `system` (none: `prompt`)."""
    sound: SoundConfig = field(default_factory=lambda: SoundConfig(max_seconds=None))
    """How audio is read."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; `auto`: bfloat16 on a GPU, float32 without."""
    batch_size: int = 16
    """Questions answered at once."""
    max_new_tokens: int = 256
    """Longest answer, in tokens."""
    shuffles: int = 0
    """Ask again this often with the options in another order: how much of the score is their order?"""
    silent: bool = False
    """Ask again with silence in place of all audio: how much of the score needs no audio?"""
    check_heard: bool = True
    """First make sure that answers depend on the audio."""
    cache_gigabytes: float = 4.0
    """Memory for encoded clips, which all questions about them share."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ...; `auto`: the GPU if there is one."""
    card: bool = False
    """Add the scores, with their intervals, to the model card of --model (a folder): its README.md."""
    json: Path | None = None
    """Write the scores to this JSON file too; `-`: print them."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds (and a tenth of its length): it is listed as bad."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    bootstrap: int = 2000
    """Bootstrap draws of an interval."""
    seed: int = 0
    """Seed for the orders of options and bootstrap sampling."""

    def __post_init__(self) -> None:
        check_decoding(self.decode_seconds, self.decode_megabytes)
        for name in ("batch_size", "max_new_tokens", "bootstrap", "limit", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("shuffles", "max_retries"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        self._check_endpoint()
        if self.card and (self.model is None or not Path(self.model).is_dir()):
            raise ValueError(f"card: scores go to the card of a model's folder, got --model {self.model}")

    def _check_endpoint(self) -> None:
        if (self.endpoint is None) != (self.endpoint_model is None):
            raise ValueError(
                "endpoint and endpoint_model go together: where the model is, and its name there"
            )
        if (self.model is None) == (self.endpoint is None):
            raise ValueError("give model, or endpoint and endpoint_model for one behind a service")
        if self.endpoint is None:
            return
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint must begin with http:// or https://, got {self.endpoint!r}")
        if not self.request_timeout > 0:
            raise ValueError(f"request_timeout must be above 0, got {self.request_timeout}")
        if self.engine != "transformers":
            raise ValueError(f"engine {self.engine} runs a model here, and endpoint names one elsewhere")
