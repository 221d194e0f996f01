"""A translator by its name."""

from __future__ import annotations

from ml_clap.translate.translator import Translator, is_sonar


def load_translator(
    name: str, *, num_beams: int, max_tokens: int, device: str, dtype: object, licence: str | None = None
) -> Translator:
    """Load the model that `name` means.

    Args:
        name: `sonar`, a folder of SONAR's files, or a folder or hub id of a model of transformers.
        num_beams: of the search.
        max_tokens: of a translation.
        device: where it runs.
        dtype: a torch.dtype.
        licence: of its weights, where the user says it.

    Raises:
        ValueError: it is no translation model that is known, or cannot be read.
        ImportError: SONAR is meant, and its library is not installed.
    """
    if is_sonar(name):
        from ml_clap.translate.sonar import SonarTranslator

        return SonarTranslator.load(name, num_beams, max_tokens, device, dtype, licence)
    from ml_clap.translate.seq2seq import Seq2SeqTranslator

    return Seq2SeqTranslator.load(name, num_beams, max_tokens, device, dtype, licence)
