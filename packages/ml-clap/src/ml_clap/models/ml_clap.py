"""ML-CLAP: one space for sounds and for their descriptions in many languages (arXiv 2406.07012).

A CED audio encoder and a text encoder, each with the paper's head (linear, ReLU, linear) into a shared space,
L2-normalized. Departures from the paper, each with the setting that undoes it:

- the temperature is learned in log space and kept between 0.01 and 1 (`temperature_parameter: raw`);
- a clip's embedding depends on that clip alone (`audio.mode: reference`);
- punctuation of every script is removed from texts (`text_normalization: reference`);
- texts in several languages are one forward pass; the authors run one per language, with equal results.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from audio_common.ced import CED
from audio_common.config import Channel
from audio_common.mel import MIN_SAMPLES, SAMPLE_RATE, num_frames
from audio_common.waveform import as_waveform, one_or_many
from torch import Tensor, nn

from ml_clap.config.model import ModelConfig
from ml_clap.models.card import make_card
from ml_clap.models.card_parts import read_card
from ml_clap.models.checkpoint import ADAPTERS, Mode, SavedModel, check_fit, read_model, write_folder
from ml_clap.models.identity import hash_model
from ml_clap.models.licence import SONAR, licence_of_parts
from ml_clap.models.push import push_folder
from ml_clap.models.shared_space import make_head, project, shorten, temperature_of
from ml_clap.models.text_encoder import TextEncoder, build_empty, build_text_encoder, load_text_encoder
from ml_clap.models.text_source import naming
from ml_clap.models.text_training import changed_state, merge
from ml_clap.models.tokenizer import CutText, TextBatch, TextPreparer, check_texts

if TYPE_CHECKING:
    from typing import Any, Self

    from audio_common.augment import SpecAugment


SONAR_VOCABULARY = 256_206
"""Tokens of SONAR's text encoder; no other encoder of its architecture has as many."""
UNDECIDING = ("temperature", "similarity_bias", "num_batches_tracked")
"""Ends of the names of weights that decide no embedding."""


class MLCLAP(nn.Module):
    """Audio and text encoders with heads into one space.

        >>> model = MLCLAP.from_pretrained("runs/clotho")  # doctest: +SKIP
        >>> model.encode_text("un chien aboie", "fra_Latn").shape  # doctest: +SKIP
        torch.Size([1024])

    Args:
        config: The architecture, and where the encoders' weights start.
        audio_encoder: Used instead of what `config.audio` and `config.audio_weights` say.
        text_encoder: Used instead of what `config.text_encoder` names.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        audio_encoder: CED | None = None,
        text_encoder: TextEncoder | None = None,
    ) -> None:
        super().__init__()
        self.audio_encoder = _make_audio_encoder(config) if audio_encoder is None else audio_encoder
        self.text_encoder = _make_text_encoder(config) if text_encoder is None else text_encoder
        self.config = replace(config, audio=self.audio_encoder.config)
        self.audio_proj = make_head(self.config.audio.embed_dim, config.embed_dim)
        self.text_proj = make_head(self.text_encoder.dim, config.embed_dim)
        if config.temperature_parameter == "log":
            self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        else:
            self.raw_temperature = nn.Parameter(torch.tensor(config.temperature))
        if config.similarity_bias is not None:
            self.similarity_bias = nn.Parameter(torch.tensor(config.similarity_bias))
        self.channel: Channel = "mean"
        """What is made of several channels, where nothing else is said; saved with the model."""
        self.card: str | None = None
        """Text of the model card; None: one is made of the configuration."""
        self.float_fingerprint: str | None = None
        """Once the sound encoder is in int8: the fingerprint from before."""
        self.text_has_source = False
        """Whether the text encoder learns a part of the weights that `config.text_encoder` has; see
        `ml_clap.models.text_training`."""
        self._freeze()

    # Loading and saving

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        mode: Mode | None = None,
        text_tokenizer: str | Path | None = None,
    ) -> Self:
        """Load a model in evaluation mode.

        Args:
            source: A folder of `save_pretrained`, the folder of a training run (its `best` model, else its
                `last`), a hub id, or a checkpoint of the authors (`pretrain.pt`,
                `ac_finetune_le_mixture.pt`, `clotho_finetune_le_mixture.pt`).
            device: Where to put it.
            dtype: Of its weights; its fingerprint depends on it.
            mode: `reference` runs audio and text as the authors' code does, whatever the model was saved
                with; `masked` runs audio clip by clip. Default: as saved; the authors' checkpoints `masked`.
            text_tokenizer: SONAR's sentencepiece file or a folder with it, which the authors' checkpoints
                lack; by default looked for beside the checkpoint.

        Raises:
            ValueError: The source is not a model, or the text tokenizer is missing.
        """
        model = cls.from_saved(read_model(source, mode=mode, text_tokenizer=text_tokenizer))
        return model.to(device, dtype).eval()

    @classmethod
    def from_saved(cls, saved: SavedModel) -> Self:
        """Build the model that `read_model` read; encoders that were omitted are loaded from their source."""
        config, state = saved.config, saved.state
        adapters = {name: value for name, value in state.items() if name.startswith(ADAPTERS)}
        state = {name: value for name, value in state.items() if name not in adapters}

        def build() -> MLCLAP:
            audio_encoder = None if "audio_encoder" in saved.omitted else CED(config.audio)
            text = saved.text
            text_encoder = None if text is None else build_text_encoder(text, backend=config.text_backend)
            return cls(config, audio_encoder=audio_encoder, text_encoder=text_encoder)

        def check(model: MLCLAP) -> None:
            if not saved.omitted:
                check_fit(model.export_state(), state)

        with naming(saved.path):
            model: Any = build_empty(build, check)
            there = model.export_state() if saved.omitted else {}
            read_again = {k: v for k, v in there.items() if k.split(".")[0] in saved.omitted}
            named = {f"text_encoder.{k.removeprefix(ADAPTERS)}": v for k, v in adapters.items()}
            model.load_state(merge(read_again | state, named))
        model.channel = saved.channel
        model.card = read_card(saved.path)
        return model

    def save_pretrained(
        self, folder: str | Path, *, save_frozen: bool = True, card: str | None = None
    ) -> None:
        """Write `config.json`, `model.safetensors`, the text encoder's files and the model card.

        Args:
            folder: Made if missing; complete in itself.
            save_frozen: False leaves out encoders that are frozen and came from a named source, which loading
                then reads again; and in training by `text_layers` or `text_lora_rank` all of the text encoder
                but what learns. The folder is small but no longer complete.
            card: Text of the model card; None: the model's own, else one made of the configuration.
        """
        changed = None
        if self.text_has_source and not save_frozen:
            prefix = ADAPTERS if self.config.text_lora_rank else "text_encoder."
            changed = {
                prefix + name: value for name, value in changed_state(self.text_encoder.encoder).items()
            }
        write_folder(
            Path(folder),
            self.config,
            self.export_state(),
            self.text_encoder,
            channel=self.channel,
            save_frozen=save_frozen,
            changed_text=changed,
            card=card or self.card or make_card(self.config, is_sonar=self.is_sonar),
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload an ML-CLAP model",
        save_frozen: bool = True,
    ) -> str:
        """Upload what `save_pretrained` writes, its card with it, to the hub; return the commit's address.

        Mind the licence of the weights: SONAR's are CC-BY-NC-4.0.

        Args:
            repo_id: See `push_folder`, as for the others.
            private: Whether a repository that is made is private.
            token: Of the hub.
            revision: Branch.
            create_pr: Whether to propose the upload only.
            commit_message: Of the commit.
            save_frozen: See `save_pretrained`.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, save_frozen=save_frozen)
            return push_folder(
                Path(folder),
                repo_id,
                message=commit_message,
                private=private,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )

    def export_state(self) -> dict[str, Tensor]:
        """Return the weights by the names that `save_pretrained` writes, the same for both text backends."""
        own = {name: value for name, value in self.state_dict().items() if not _is_of_text_encoder(name)}
        text = self.text_encoder.export_state()
        return own | {f"text_encoder.{name}": value for name, value in text.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load weights by those names, strictly.

        Raises:
            ValueError: Listing what is missing, unexpected or of another shape.
        """
        check_fit(self.export_state(), state)
        text = {name: value for name, value in state.items() if _is_of_text_encoder(name)}
        self.text_encoder.load_state(
            {name.removeprefix("text_encoder."): value for name, value in text.items()}
        )
        self.load_state_dict({name: value for name, value in state.items() if name not in text}, strict=False)

    # Encoding

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor | None,
        text_ids: Tensor,
        text_mask: Tensor,
        spec_augment: SpecAugment | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Embed a batch of clips and a batch of texts: `(batch, embed_dim)` each; arguments as below."""
        return self.embed_audio(waveforms, lengths, spec_augment), self.embed_tokens(text_ids, text_mask)

    def encode_audio(
        self,
        audio: Any,
        *,
        sample_rate: float = 16_000,
        channel: Channel | None = None,
        dim: int | None = None,
    ) -> Tensor:
        """Embed sounds, in evaluation mode and without gradients, each by itself.

        Args:
            audio: Paths, bytes, file objects, arrays or tensors (`(samples,)` or `(channels, samples)`), one
                or several.
            sample_rate: Of arrays and tensors, Hz.
            channel: What is made of several channels, see `audio_common.audio.load_audio`; default: the
                model's.
            dim: Give the first so many dimensions, normalized again: for a model trained with
                `matryoshka_dims`; default: all.

        Returns:
            `(dim,)` of one sound, `(sounds, dim)` of several; float32, L2-normalized.

        Raises:
            AudioError: A sound is none, or cannot be read.
        """
        items, are_many = one_or_many(audio)
        chosen = channel or self.channel
        waveforms = [as_waveform(item, array_rate=sample_rate, channel=chosen) for item in items]
        with self._inference():
            rows = [self.embed_audio(waveform[None])[0] for waveform in waveforms]
            return self._stacked(rows, are_many, dim)

    def encode_text(
        self,
        texts: str | Sequence[str],
        languages: str | Sequence[str] = "eng_Latn",
        *,
        dim: int | None = None,
    ) -> Tensor:
        """Embed texts, in evaluation mode and without gradients, all in one language or each in its own.

        Args:
            texts: One or several.
            languages: SONAR's codes.
            dim: As of `encode_audio`.

        Returns:
            `(dim,)` of one text, `(texts, dim)` of several; float32, L2-normalized.

        Raises:
            ValueError: What is given is no text, or one is empty, or a language is not known.
        """
        items, are_many = check_texts(texts)
        self.prepare_text.warn_of_cut(items)
        with self._inference():
            rows = list(self.embed_text(items, languages)) if items else []
            return self._stacked(rows, are_many, dim)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Within the block no autograd graph is built and nothing is drawn at random."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(was_training)

    def _stacked(self, rows: list[Tensor], are_many: bool, dim: int | None) -> Tensor:
        if not rows:
            return torch.empty(0, dim or self.config.embed_dim)
        whole = torch.stack(rows) if are_many else rows[0]
        return whole if dim is None else shorten(whole, dim)

    def embed_audio(
        self, waveforms: Tensor, lengths: Tensor | None = None, spec_augment: SpecAugment | None = None
    ) -> Tensor:
        """Embed a batch of clips, with gradients: for training.

        Args:
            waveforms: `(batch, samples)` at 16 kHz.
            lengths: Samples of each clip, `(batch,)`; None: all of them.
            spec_augment: Masks bands of the spectrograms; training only.

        Returns:
            `(batch, embed_dim)` float32, L2-normalized.
        """
        lengths = None if lengths is None else lengths.to(self.device)
        output = self.audio_encoder(waveforms.to(self.device), lengths, spec_augment=spec_augment)
        return project(self.audio_proj, output.pooled)

    def embed_columns(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Embed every 160 ms of a sound by itself: the mean over frequency of its tokens, through the head.

        The head has learned means over whole clips: cosines of these vectors are compared within a sound, and
        their mean is not the sound's cosine.

        Args:
            waveform: `(samples,)` at 16 kHz.

        Returns:
            `(columns, embed_dim)` float32, L2-normalized, and `(columns,)`: the centre of each in seconds.
        """
        output = self.audio_encoder(waveform[None].to(self.device))
        features, mask = output.time_features()
        return project(self.audio_proj, features[0, mask[0]]), output.column_times[0, mask[0]]

    def embed_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed tokenized texts (`ids` and `mask` `(batch, length)`): `(batch, embed_dim)`, L2-normalized."""
        return self.project_text(self.text_encoder(ids.to(self.device), mask.to(self.device)))

    def embed_text(self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn") -> Tensor:
        """Embed a batch of texts, with gradients, all in one language or each in its own: `(texts, dim)`."""
        return self.embed_tokens(*self.tokenize(texts, languages))

    def project_text(self, features: Tensor) -> Tensor:
        """Apply the text head to sentence vectors `(batch, text dim)`: `(batch, embed_dim)`, normalized."""
        return project(self.text_proj, features)

    @property
    def prepare_text(self) -> TextPreparer:
        """What `tokenize` does, without the model: give this to data workers."""
        return TextPreparer(
            self.text_encoder.tokenizer, self.config.text_normalization, self.config.text_prefix
        )

    def tokenize(self, texts: str | Sequence[str], languages: str | Sequence[str] = "eng_Latn") -> TextBatch:
        """Normalize, prefix, tokenize and truncate texts, all in one language or each in its own."""
        return self.prepare_text(texts, languages)

    @property
    def temperature(self) -> Tensor:
        """The scalar by which the loss divides similarities, float32, with its gradient."""
        if self.config.temperature_parameter == "raw":
            return self.raw_temperature.float().reshape(())
        return temperature_of(self.log_temperature).reshape(
            ()
        )  # a vector of one element where it is shared out

    @property
    def bias(self) -> Tensor:
        """The scalar that the sigmoid loss adds to similarities, float32; 0 where none is learnt."""
        if self.config.similarity_bias is None:
            return torch.zeros((), device=self.device)
        return self.similarity_bias.float().reshape(())

    def round_audio_encoder(self) -> None:
        """Make the sound encoder's layers 8-bit integers, in place, for inference on a CPU.

        The fingerprint stays that of the float32 model: its vectors and these can be compared.

        Raises:
            ValueError: see `audio_common.int8`.
        """
        self.float_fingerprint = self.fingerprint()
        self.audio_encoder.set_precision("int8")

    # What any `DualEncoder` says of itself

    @property
    def kind(self) -> str:
        """What it is and how it runs."""
        return f"ML-CLAP, {self.config.audio.mode}"

    @property
    def licence(self) -> str:
        """Licence of the weights, `unknown` where nothing says it."""
        return licence_of_parts(
            {"audio": self.config.audio_weights, "text": self.config.text_encoder},
            {"text": SONAR} if self.is_sonar else {},
        )

    @property
    def is_sonar(self) -> bool:
        """Whether its text encoder has SONAR's weights: by their vocabulary, whatever its name is."""
        text = self.text_encoder.config
        return text.model_type == "m2m_100" and text.vocab_size == SONAR_VOCABULARY

    @property
    def embed_dim(self) -> int:
        """Width of the shared space."""
        return self.config.embed_dim

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that CED takes."""
        return SAMPLE_RATE

    @property
    def min_samples(self) -> int:
        """Samples that the longest sound of a batch needs: the authors' front end does not pad."""
        return MIN_SAMPLES if self.config.audio.mode == "reference" else 0

    @property
    def max_seconds(self) -> float | None:
        """None: it hears sounds of any length."""
        return None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.audio_proj.parameters()).device

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts of which tokens are cut off."""
        return self.prepare_text.find_cut(texts)

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""
        return self.prepare_text.describe_cut(cut)

    def find_unheard(self, lengths: Sequence[int]) -> list[int]:
        """Return which sounds of a batch are not heard to their end, in the reference mode.

        Of a batch that fills its last piece exactly, the authors' code drops that piece.
        """
        piece, frames = self.config.audio.target_length, num_frames(max(lengths))
        if self.config.audio.mode == "masked" or frames <= piece or frames % piece:
            return []
        return [place for place, length in enumerate(lengths) if num_frames(length) > frames - piece]

    # Training

    def train(self, mode: bool = True) -> Self:
        """Set the mode as of every module, except that frozen encoders stay in evaluation mode."""
        super().train(mode)
        if self.config.freeze_text:
            self.text_encoder.eval()
        return self

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of encoders that learn in the backward pass."""
        if not self.config.freeze_audio:
            self.audio_encoder.gradient_checkpointing_enable()
        if not self.config.freeze_text:
            self.text_encoder.enable_gradient_checkpointing()

    def _freeze(self) -> None:
        # The tagging head takes no part: distributed training refuses parameters without a gradient.
        self.audio_encoder.outputlayer.requires_grad_(False)
        if self.config.freeze_audio:
            self.audio_encoder.freeze()
        if self.config.freeze_text:
            self.text_encoder.requires_grad_(False)
            self.text_encoder.eval()

    # Identity

    def fingerprint(self) -> str:
        """Return a short stable hash of all that decides an embedding: weights, tokenizer, settings.

        Temperature and bias, the audio encoder's tagging head and the training settings are not part of it;
        the text backend is not either, since both give the same embeddings.
        """
        if self.float_fingerprint is not None:
            return self.float_fingerprint
        # Exported names are the same for both text backends.
        deciding = {
            name: tensor
            for name, tensor in self.export_state().items()
            if not name.endswith(UNDECIDING) and ".outputlayer." not in name
        }
        return hash_model(deciding, self._embedding_settings())

    def _embedding_settings(self) -> tuple[object, ...]:
        config, tokenizer = self.config, self.text_encoder.tokenizer
        audio = (config.audio.mode, config.audio.target_length, config.audio.num_heads)
        return (
            *audio,
            config.text_normalization,
            config.text_prefix,
            tokenizer.max_tokens,
            tokenizer.fingerprint(),
        )


def _is_of_text_encoder(name: str) -> bool:
    return name.startswith("text_encoder.")


def _make_audio_encoder(config: ModelConfig) -> CED:
    if config.audio_weights is None:
        return CED(config.audio)
    wanted = config.audio
    return CED.from_pretrained(
        config.audio_weights,
        mode=wanted.mode,
        drop_path=wanted.drop_path,
        time_patch_out=wanted.time_patch_out,
        freq_patch_out=wanted.freq_patch_out,
    )


def _make_text_encoder(config: ModelConfig) -> TextEncoder:
    return load_text_encoder(
        config.text_encoder, backend=config.text_backend, max_tokens=config.max_text_tokens
    )
