"""Making, loading and saving of a captioner, as methods of its class."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch
from audio_common.ced import CED
from torch import Tensor, nn

from aac_llm.config.model import ModelConfig
from aac_llm.config.sound import Channel
from aac_llm.models import checkpoint
from aac_llm.models.bridge import Bridge
from aac_llm.models.card import make_card
from aac_llm.models.card_parts import read_card
from aac_llm.models.confidence import Calibration
from aac_llm.models.config_file import read_use
from aac_llm.models.decoder import DTYPES, Quantization, create_decoder, load_decoder
from aac_llm.models.encoder import Encoder, build_encoder
from aac_llm.models.licence import licence_of_parts, say_licence_of_weights
from aac_llm.models.push import push_folder
from aac_llm.models.reference_checkpoint import read_reference
from aac_llm.models.tensors import load_part


class PretrainedModule(nn.Module):
    """Constructors and savers of `CaptionModel`; see `checkpoint.py` for the files."""

    config: ModelConfig
    tokenizer: Any
    encoder: Encoder
    bridge: Bridge
    decoder: Any
    channel: Channel = "mean"
    """What is heard of sounds with several channels."""
    trained_seconds: float | None = None
    """The longest sound that it was trained on; None: not known."""
    calibrations: Mapping[str, Calibration] = MappingProxyType({})
    """How likely a caption is right by its score, by kind of caption; see `confidence.py`."""
    card: str | None = None
    """Text of the model card; None: one is made of the configuration."""

    @classmethod
    def from_config(cls, config: ModelConfig, *, device: str | torch.device = "cpu") -> Self:
        """Make a model to train: the named encoder and decoder, and a random bridge.

        Raises:
            DecoderError: the decoder cannot be loaded.
            CheckpointError: the encoder's weights cannot.
        """
        config, encoder = build_encoder(config)
        decoder, tokenizer = load_decoder(
            config.decoder,
            dtype=DTYPES[config.decoder_dtype],
            quantization=config.quantization,
            device=device,
        )
        return cls(config, encoder=encoder, decoder=decoder, tokenizer=tokenizer).eval().to(device)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        decoder: str | None = None,
        quantization: Quantization | None = None,
    ) -> Self:
        """Load what `save_pretrained` wrote, in evaluation mode.

        Args:
            source: a folder, the run folder of a training, or a model's id on the Hugging Face hub.
            device: where it goes.
            dtype: of all weights, for inference; None: as trained, i.e. trained weights in float32 and the
                decoder's frozen ones in the configuration's `decoder_dtype`.
            decoder: hub id or folder of the language model, if it is not the one that the model names.
            quantization: of the decoder; None: as the model says.

        Raises:
            CheckpointError: no checkpoint, a damaged one, or a decoder of another width or depth.
            DecoderError: the decoder cannot be loaded.
        """
        folder = checkpoint.find_model(source)
        config = checkpoint.read_config(folder)
        if quantization is not None:
            config = replace(config, quantization=quantization)
        config, encoder = checkpoint.load_encoder(config, folder)
        config, language_model, tokenizer = checkpoint.load_language_model(
            config, folder, source=decoder, dtype=dtype, device=device
        )
        # The model first, which injects the adapters that are then loaded.
        model = cls(config, encoder=encoder, decoder=language_model, tokenizer=tokenizer)
        checkpoint.load_trained(config, folder, **model.parts())
        # Quantized weights have no other format to be cast to.
        if dtype is not None and config.quantization == "none":
            model.to(dtype)
        for name, value in read_use(folder).items():
            setattr(model, name, value)
        model.card = read_card(folder)
        say_licence_of_weights(source, model.licence)
        return model.eval().to(device)

    @classmethod
    def from_reference(
        cls,
        source: str | Path | Mapping[str, Any],
        *,
        decoder: str,
        config: ModelConfig | None = None,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Load a checkpoint of the authors' code, in evaluation mode.

        Args:
            source: a `.pt`, `.bin` or `.safetensors` file, or the tensors.
            decoder: hub id or folder of the language model; its configuration and tokenizer are used, its
                weights are those of the checkpoint.
            config: of other sizes than the published one (CED-base, a Q-Former of 768).
            device: where it goes.

        Raises:
            CheckpointError: unreadable, or with missing, unexpected or misshapen tensors, which it lists.
            DecoderError: the decoder's configuration or tokenizer cannot be loaded.
        """
        name = "the checkpoint" if isinstance(source, Mapping) else str(source)
        config, tensors = read_reference(source, config)
        language_model, tokenizer = create_decoder(decoder, dtype=DTYPES[config.decoder_dtype])
        config = replace(config, decoder=decoder)
        model = cls(config, encoder=CED(config.encoder), decoder=language_model, tokenizer=tokenizer)
        # Strictly: their file holds the whole model, frozen weights included.
        load_part(model, tensors, name)
        return model.eval().to(device)

    def restore(self, folder: Path) -> None:
        """Take over what a checkpoint with the same settings trained."""
        checkpoint.load_trained(self.config, folder, **self.parts())
        checkpoint.load_whole(self.config, folder, encoder=self.encoder, decoder=self.decoder)

    def parts(self) -> dict[str, Any]:
        """Return encoder, bridge and decoder by name."""
        return {"encoder": self.encoder, "bridge": self.bridge, "decoder": self.decoder}

    @property
    def licence(self) -> str:
        """Licence of the weights, part by part, `unknown` where nothing says it."""
        return licence_of_parts({"encoder": self.config.encoder_weights, "decoder": self.config.decoder})

    def use(self) -> dict[str, Any]:
        """Return how the model is used, as its configuration file has it; see `config_file.USE`."""
        # Only what is needed: versions that do not know a key read all others.
        found: dict[str, Any] = {} if self.channel == "mean" else {"channel": self.channel}
        found |= {} if self.trained_seconds is None else {"trained_seconds": self.trained_seconds}
        confidence = {kind: asdict(one) for kind, one in self.calibrations.items()}
        return found | ({"confidence": confidence} if confidence else {})

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        state_dict: Mapping[str, Tensor] | None = None,
        card: str | None = None,
    ) -> None:
        """Write what was trained, and the names of the rest, for `from_pretrained`.

        Args:
            folder: created if need be; other files in it are left alone.
            state_dict: the tensors to write under the model's names, if they are not the model's own
                (gathered from many GPUs).
            card: text of the model card; None: the model's own.
        """
        tensors = state_dict if state_dict is not None else self.state_dict()
        checkpoint.save(
            Path(folder),
            self.config,
            self.decoder,
            self.tokenizer,
            tensors,
            self.use(),
            card or self.card or make_card(self.config),
        )

    def save_merged(self, folder: str | Path) -> None:
        """Write everything, adapters merged into the weights: `decoder/` and `encoder/` are plain models.

        Raises:
            ValueError: the decoder is quantized.
        """
        card = self.card or make_card(self.config)
        others = {"tokenizer": self.tokenizer, "use": self.use(), "card": card}
        checkpoint.save_merged(Path(folder), self.config, **others, **self.parts())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload a captioner",
    ) -> str:
        """Upload what `save_pretrained` writes, its card with it, to the hub; return the commit's address.

        Args:
            repo_id: see `push_folder`, as are the others.
            private: whether a repository that is made is private.
            token: of the hub.
            revision: branch.
            create_pr: whether to propose the upload only.
            commit_message: of the commit.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_folder(
                Path(folder),
                repo_id,
                message=commit_message,
                private=private,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )
