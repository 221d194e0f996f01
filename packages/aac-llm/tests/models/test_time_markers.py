"""Events with their times: what the language model reads, learns and writes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from aac_llm.config.caption import TIMED_TOKENS, GenerationConfig
from aac_llm.config.model import BridgeConfig, ModelConfig
from aac_llm.config.train import DataConfig, TrainConfig
from aac_llm.data.timestamps import TimedEvent, parse_timed
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.encoder import count_encoder_tokens, token_seconds
from aac_llm.models.inference import longest_seconds
from aac_llm.models.prompt import IGNORED
from aac_llm.models.time_markers import NotTimedError, timed_text
from audio_common.audio import load_audio
from audio_common.batch import pad_waveforms

EVENTS = [
    (TimedEvent("A dog barks.", 0.0, 0.5), TimedEvent("rain falls", 0.3, 1.2)),
    (TimedEvent("a bell rings", 0.8, 2.1),),
    (),
]
TEXTS = ["[0.0-0.5] a dog barks, [0.3-1.2] rain falls", "[0.8-2.1] a bell rings", ""]


@pytest.fixture
def timed_model(tiny_model: CaptionModel) -> CaptionModel:
    """The tiny captioner, said to know times."""
    tiny_model.config = replace(tiny_model.config, timestamps=True)
    return tiny_model


@pytest.fixture(scope="module")
def sounds(scene_files):
    """Waveforms `(3, samples)` and lengths of sounds of 1.2, 2.2 and 3.2 s."""
    return pad_waveforms([torch.as_tensor(load_audio(file.audio)) for file in scene_files[:3]])


def test_a_marker_stands_before_each_window_and_at_the_end(timed_model, sounds) -> None:
    acoustic = timed_model.encode_audio(*sounds)
    embed = timed_model.decoder.get_input_embeddings()
    rows = timed_model.markers.interleave(embed, acoustic)
    # Windows of 17 tokens, four to 160 ms: 0.68 s. Sounds of 1.2, 2.2 and 3.2 s.
    starts = ["0.0", "0.7", "1.4", "2.0", "2.7"]
    for row, sound, count, end in zip(
        rows, acoustic.embeddings, acoustic.counts(), ("1.2", "2.2", "3.2"), strict=True
    ):
        parts = []
        for window, start in enumerate(starts[:count]):
            parts += [_embedded(timed_model, f"[{start}]"), sound[window : window + 1]]
        torch.testing.assert_close(row, torch.cat([*parts, _embedded(timed_model, f"[{end}]")]))
    assert acoustic.counts() == [2, 4, 5]


def _embedded(model: CaptionModel, text: str) -> torch.Tensor:
    tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return model.decoder.get_input_embeddings()(torch.tensor(tokens))


def test_a_plain_caption_reads_no_markers(timed_model, sounds) -> None:
    acoustic = timed_model.encode_audio(*sounds)
    plain = timed_model.assemble(acoustic)
    timed = timed_model.assemble(acoustic, timestamps=True)
    longest = max(acoustic.counts()) + len(timed_model.prompt)
    assert plain.embeddings.shape[1] == longest < timed.embeddings.shape[1]


def test_what_is_learned_is_what_is_read_back(timed_model) -> None:
    assert [timed_text(events, "reference") for events in EVENTS] == TEXTS
    labels = timed_model.tokenize_timed([*EVENTS, None])
    eos = timed_model.tokenizer.eos_token_id
    decoded = timed_model.tokenizer.batch_decode(
        [row[(row != IGNORED) & (row != eos)].tolist() for row in labels]
    )
    assert [text.strip() for text in decoded] == [*TEXTS, ""]
    # Of no event the end alone, of what is not known nothing.
    assert (labels != IGNORED).sum(1).tolist()[2:] == [1, 0]
    # Words in brackets would be read as times.
    assert parse_timed(timed_text([TimedEvent("a dog [2.0-3.0] barks", 0, 1)], "none")) == [
        TimedEvent("a dog (2.0-3.0) barks", 0, 1)
    ]
    assert timed_text([TimedEvent("?!", 0, 1)], "reference") == "[0.0-1.0] ?!"


def test_times_are_learned_beside_captions(timed_model, sounds) -> None:
    captions = ["a dog barks while rain falls", "a bell rings", "there is nothing"]
    labels, timed_labels = timed_model.tokenize_captions(captions), timed_model.tokenize_timed(EVENTS)
    timed_model.config = replace(timed_model.config, encoder_strategy="frozen")
    learned = [*timed_model.bridge.parameters(), *timed_model.decoder.parameters()]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(learned, lr=3e-3)
    for _ in range(50):
        loss = timed_model(*sounds, labels, timed_labels=timed_labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = timed_model.generate(*sounds, timestamps=True)
    assert [candidates[0].text for candidates in found] == TEXTS
    assert [candidates[0].text for candidates in timed_model.generate(*sounds)] == captions


def test_loss_and_events_of_a_clip_do_not_depend_on_its_batch_mates(timed_model, sounds) -> None:
    waveforms, lengths = sounds
    labels = timed_model.tokenize_timed(EVENTS)
    settings = {"timestamps": True, "max_new_tokens": 3}
    with torch.no_grad():
        together = timed_model.timed_loss(timed_model.encode_audio(waveforms, lengths), labels)
        found = timed_model.generate(waveforms, lengths, **settings)
        apart = 0.0
        for index, events in enumerate(EVENTS):
            alone = waveforms[index : index + 1, : lengths[index]]
            apart += timed_model.timed_loss(
                timed_model.encode_audio(alone), timed_model.tokenize_timed([events])
            )
            assert timed_model.generate(alone, **settings)[0][0].text == found[index][0].text
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_sum_of_both_and_without_times_that_of_captions(timed_model, sounds) -> None:
    labels = timed_model.tokenize_captions(["a dog", "a bell", "rain"])
    timed_labels = timed_model.tokenize_timed([EVENTS[0], None, None])
    with torch.no_grad():
        acoustic = timed_model.encode_audio(*sounds)
        plain = timed_model(*sounds, labels).loss
        timed = timed_model.timed_loss(acoustic, timed_labels)
        both = timed_model(*sounds, labels, timed_labels=timed_labels).loss
        count = (labels != IGNORED).sum()
        torch.testing.assert_close(both, plain + timed / count)
        # All ranks of FSDP make the second pass; without events it counts nothing.
        nothing = timed_model.tokenize_timed([None, None, None])
        assert nothing.shape == (3, 0)
        torch.testing.assert_close(timed_model(*sounds, labels, timed_labels=nothing).loss, plain)


def test_a_model_that_was_not_trained_on_times_refuses(tiny_model, sounds) -> None:
    with pytest.raises(NotTimedError, match="not trained to write times: leave --timestamps out"):
        tiny_model.generate(*sounds, timestamps=True)


def test_the_folder_says_whether_times_were_learned(timed_model, tiny_model_folder: Path, tmp_path) -> None:
    timed_model.save_pretrained(tmp_path)
    assert CaptionModel.from_pretrained(tmp_path).config.timestamps
    # Versions that do not know of times read what was trained without.
    assert "timestamps" not in json.loads((tiny_model_folder / "config.json").read_text())
    assert not CaptionModel.from_pretrained(tiny_model_folder).config.timestamps


def test_the_decoders_context_holds_markers_and_the_longer_text(timed_model, sounds) -> None:
    for waveform, length in zip(sounds[0], sounds[1].tolist(), strict=True):
        acoustic = timed_model.encode_audio(waveform[None, :length])
        read = timed_model.assemble(acoustic, timestamps=True).embeddings.shape[1]
        budget = timed_model.token_budget(length / 16_000, timestamps=True)
        assert read - len(timed_model.prompt) <= budget <= read - len(timed_model.prompt) + 6
    plain, timed = GenerationConfig(), GenerationConfig(timestamps=True)
    assert (plain.token_limit, plain.least_tokens) == (30, 2)
    assert (timed.token_limit, timed.least_tokens) == (30 * TIMED_TOKENS, 0)
    longest = longest_seconds(timed_model, timed)
    assert longest < longest_seconds(timed_model, plain)
    context = timed_model.decoder.config.max_position_embeddings
    assert timed_model.token_budget(longest, timestamps=True) + len(timed_model.prompt) + 120 <= context


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelConfig(timestamps=True, bridge=BridgeConfig(kind="clip")), "bridge.kind clip"),
        (lambda: GenerationConfig(timestamps=True, repetition_penalty=1.2), "times repeat digits"),
        (lambda: DataConfig(train=(Path("a"),), timestamps=1.5), r"data.timestamps must be in \[0, 1\]"),
        (
            lambda: TrainConfig(
                out=Path("a"), data=DataConfig(train=(Path("a"),)), model=ModelConfig(timestamps=True)
            ),
            "set data.timestamps",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_window_of_either_encoder_is_as_long_as_its_tokens() -> None:
    # 10 s: CED fills up the last of its columns of 160 ms (1001 frames), Whisper has no part of a token.
    for kind, seconds in (("ced", 1008 / 100), ("whisper", 10.0)):
        config = ModelConfig(encoder_kind=kind)
        assert token_seconds(config) * count_encoder_tokens(160_000, config) == pytest.approx(seconds)
