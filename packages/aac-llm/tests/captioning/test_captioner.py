import numpy as np
import pytest
import soundfile
import torch
from aac_llm.captioning.captioner import SAMPLE_RATE, Captioner
from aac_llm.captioning.rerank import cider_similarity, consensus
from aac_llm.config.caption import GenerationConfig
from aac_llm.data.predictions import NO_SOUND
from aac_llm.models.beam_search import beam_search
from aac_llm.models.generation import generate_tokens
from aac_llm.models.inference import choose_dtype, longest_seconds
from audio_common.audio import AudioError, load_audio
from audio_common.prefetch import BadFile, BatchLimits
from transformers import LlamaConfig, LlamaForCausalLM

SETTINGS = GenerationConfig(max_new_tokens=8)


@pytest.fixture(scope="session")
def paths(scene_files):
    return [file.audio for file in scene_files]


@pytest.fixture
def lively_model(tiny_model):
    """A random model repeats one token whatever it hears; this one's captions differ between sounds."""
    with torch.no_grad():
        for parameter in (*tiny_model.bridge.parameters(), *tiny_model.decoder.parameters()):
            if parameter.ndim == 2:
                parameter.mul_(4.0)
    return tiny_model


def words(predictions):
    return [prediction.caption for prediction in predictions]


# Files


def test_what_is_too_long_for_the_context_is_named_with_the_way_out(paths, tiny_model, monkeypatch):
    bad: list[BadFile] = []
    monkeypatch.setattr("aac_llm.models.inference.longest_seconds", lambda *_: 0.9)
    assert list(Captioner(tiny_model).caption_files(paths, SETTINGS, bad)) == []
    assert sorted(file.index for file in bad) == [0, 1, 2, 3, 4, 5]
    assert bad[0].reason.startswith("1.2 s are more than the 0.9 s that fit into the decoder's context")
    assert "--max_new_tokens" in bad[0].reason


# Beam search


@pytest.mark.filterwarnings("ignore:Passing `repetition_penalty`")
@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("min_new_tokens", [0, 3])
@pytest.mark.parametrize("num_ends", [1, 2])
def test_beams_are_those_of_transformers(penalty, min_new_tokens, num_ends):
    ends = [3, 4][:num_ends]
    options = {"max_new_tokens": 10, "min_new_tokens": min_new_tokens, "repetition_penalty": penalty}
    lengths = set()
    for seed in range(4):
        torch.manual_seed(seed)
        decoder = small_decoder(ends)
        embeddings, mask = torch.randn(5, 7, 32), torch.ones(5, 7, dtype=torch.long)
        if penalty == 1.0:  # with one, transformers 5 lets the padding change the captions
            mask = (torch.arange(7) >= torch.arange(5)[:, None]).long()
        output = decoder.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            num_beams=3,
            num_return_sequences=2,
            do_sample=False,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
        found = beam_search(decoder, embeddings, mask, num_beams=3, num_return=2, **options)
        expected = [until_end(row, ends) for row in output.sequences.tolist()]
        assert [hypothesis.tokens for hypotheses in found for hypothesis in hypotheses] == expected
        scores = torch.tensor([hypothesis.score for hypotheses in found for hypothesis in hypotheses])
        torch.testing.assert_close(scores, output.sequences_scores, rtol=1e-4, atol=1e-4)
        lengths |= {len(tokens) for tokens in expected}
    assert len(lengths) > 1  # some ended before the last step


def small_decoder(ends):
    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    decoder = LlamaForCausalLM(config).eval()
    decoder.generation_config.eos_token_id = ends
    with torch.no_grad():
        decoder.lm_head.weight.mul_(40)
    return decoder


def until_end(tokens, ends):
    stop = next((place + 1 for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:stop]


def test_too_few_beams_are_an_error():
    with pytest.raises(ValueError, match="num_return up to it, got 2 and 3"):
        beam_search(None, torch.zeros(1, 1, 1), torch.ones(1, 1), num_beams=2, num_return=3)


# Captioner


@torch.no_grad()
def test_the_captioner_finds_what_transformers_generates(lively_model, paths):
    found = Captioner(lively_model).caption(paths, max_new_tokens=8, num_candidates=2)
    for path, prediction in zip(paths, found, strict=True):
        sequences = lively_model.assemble(lively_model.encode_audio(load_audio(path)[None]))
        tokens, expected = generate_tokens(
            lively_model.decoder,
            sequences,
            num_beams=3,
            num_return_sequences=2,
            max_new_tokens=8,
            min_new_tokens=2,
            do_sample=False,
        )
        texts = [
            text.strip() for text in lively_model.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        ]
        assert [candidate.text for candidate in prediction.candidates] == texts
        scores = [candidate.score for candidate in prediction.candidates]
        assert scores == pytest.approx(expected.tolist(), abs=1e-4)
        assert prediction.caption == texts[0]
        assert prediction.id == prediction.audio == str(path)
    assert len(set(words(found))) > 1


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_caption_is_the_same_alone_and_in_any_batch_and_order(lively_model, paths, num_beams):
    options = {"max_new_tokens": 8, "num_beams": num_beams}
    alone = [words(Captioner(lively_model).caption([path], **options))[0] for path in paths]
    assert len(set(alone)) > 1
    together = Captioner(lively_model).caption(paths, **options)
    backwards = Captioner(lively_model, limits=BatchLimits(7.0, 2)).caption(paths[::-1], **options)
    assert words(together) == alone
    assert words(backwards) == alone[::-1]


def test_waveforms_and_files_have_the_same_captions(lively_model, paths):
    captioner = Captioner(lively_model)
    waveforms = [load_audio(path) for path in paths]
    found = captioner.caption([waveforms[0].numpy(), *waveforms[1:]], max_new_tokens=8)
    assert words(found) == words(captioner.caption(paths, max_new_tokens=8))
    assert [(prediction.id, prediction.audio) for prediction in found[:2]] == [("0", None), ("1", None)]


def test_one_sound_in_one_caption_out_whatever_it_is(tiny_model, paths):
    captioner = Captioner(tiny_model)
    (expected,) = words(captioner.caption([paths[0]], max_new_tokens=4))
    samples = load_audio(paths[0])
    stereo = torch.stack([samples, samples])
    pcm = (samples * 32768).round().to(torch.int16)
    with paths[0].open("rb") as file:
        for sound in (paths[0], str(paths[0]), paths[0].read_bytes(), file, samples, stereo.numpy(), pcm):
            assert captioner.caption(sound, max_new_tokens=4).caption == expected
    assert captioner.caption([]) == []


def test_many_sounds_of_any_kinds_come_out_in_their_order(lively_model, paths):
    captioner = Captioner(lively_model)
    expected = words(captioner.caption(paths[:3], max_new_tokens=8))
    mixed = [load_audio(paths[0]), paths[1], paths[2].read_bytes()]
    found = captioner.caption(mixed, max_new_tokens=8)
    assert words(found) == expected
    assert [prediction.id for prediction in found] == ["0", str(paths[1]), "2"]
    assert words(captioner.caption(iter(paths[:3]), max_new_tokens=8)) == expected


def test_arrays_of_another_rate_are_resampled(lively_model, paths):
    captioner = Captioner(lively_model)
    fast = load_audio(paths[0], sample_rate=48_000).numpy()
    assert captioner.caption(fast, sample_rate=48_000, max_new_tokens=8).unfinished in (True, False)
    with pytest.raises(AudioError, match="array_rate must be 1000 to 768000 Hz, got 16"):
        captioner.caption(fast, sample_rate=16)


def test_what_cannot_be_read_is_an_error_or_left_out_and_named(tiny_model, paths, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    bad: list[BadFile] = []
    given = [paths[0], tmp_path / "bad.wav", np.zeros(0), paths[1]]
    captioner = Captioner(tiny_model)
    found = captioner.caption(given, bad_files=bad, max_new_tokens=4)
    assert [prediction.id for prediction in found] == [str(paths[0]), str(paths[1])]
    assert [(file.index, file.path.name) for file in bad] == [(1, "bad.wav"), (2, "2")]
    with pytest.raises(AudioError, match=r"bad\.wav"):
        captioner.caption(given, max_new_tokens=4)
    with pytest.raises(AudioError, match=r"bad\.wav"):
        captioner.caption(tmp_path / "bad.wav", bad_files=bad)


def test_a_sound_in_memory_of_which_no_window_fits_is_refused_and_not_cut(tiny_model, monkeypatch):
    monkeypatch.setattr("aac_llm.models.inference.longest_seconds", lambda *_: 0.9)
    with pytest.raises(AudioError, match=r"4\.0 s are more than the 0\.9 s that fit"):
        Captioner(tiny_model).caption(torch.rand(64_000))


def test_a_long_sound_has_one_caption_of_its_windows_from_a_file_and_from_memory(tiny_model, paths):
    tiny_model.trained_seconds = 2.0
    captioner = Captioner(tiny_model)
    one = captioner.caption(paths[5])
    assert [(part.start, part.end) for part in one.parts] == [
        (0.0, 2.0), (1.6, 3.6), (3.2, 5.2), (pytest.approx(4.2), pytest.approx(6.2)),
    ]  # fmt: skip
    of_many = captioner.caption([paths[0], paths[5], load_audio(paths[5])])
    assert of_many[0].parts == ()
    assert of_many[1].parts == one.parts
    assert [part.text for part in of_many[2].parts] == [part.text for part in one.parts]
    # Each window is captioned as it would be alone.
    windows = [load_audio(paths[5])[round(p.start * 16_000) : round(p.end * 16_000)] for p in one.parts]
    assert [captioner.caption(window).caption for window in windows] == [part.text for part in one.parts]
    assert Captioner(tiny_model, max_seconds=10.0).caption(paths[5]).parts == ()


def test_a_header_that_does_not_tell_the_length_hides_no_long_sound(tiny_model, paths, tmp_path):
    tiny_model.trained_seconds = 2.0
    path, whole = tmp_path / "streamed.wav", bytearray(paths[5].read_bytes())
    whole[4:8] = whole[40:44] = b"\xff" * 4  # as written to a pipe
    path.write_bytes(bytes(whole))
    bad: list[BadFile] = []
    (found,) = Captioner(tiny_model).caption([path], bad_files=bad)
    assert bad == []
    assert [part.text for part in found.parts] == [
        part.text for part in Captioner(tiny_model).caption(paths[5]).parts
    ]


def test_silence_has_its_caption_and_the_model_is_not_asked(tiny_model, paths, monkeypatch):
    alone = Captioner(tiny_model).caption(paths[0], num_candidates=2)
    lengths = []
    encode = tiny_model.encode_audio
    monkeypatch.setattr(tiny_model, "encode_audio", lambda w, n: (lengths.append(len(w)), encode(w, n))[1])
    silence = 1e-4 * torch.randn(16_000) + 0.3  # a sound card with an offset
    found = Captioner(tiny_model).caption([silence, paths[0], torch.zeros(16_000)], num_candidates=2)
    assert [one.caption for one in found] == [NO_SOUND, alone.caption, NO_SOUND]
    assert found[0].confidence == 1.0
    assert lengths == [1]


def test_a_caption_that_was_stopped_says_so(lively_model, paths):
    short = Captioner(lively_model).caption(paths[0], max_new_tokens=2)
    assert short.unfinished
    for num_beams in (1, 3):
        # With every token an end, each caption comes to its end.
        lively_model.decoder.generation_config.eos_token_id = list(
            range(lively_model.decoder.config.vocab_size)
        )
        done = Captioner(lively_model).caption(
            paths[0], max_new_tokens=4, min_new_tokens=0, num_beams=num_beams
        )
        assert not done.unfinished


def test_the_channel_is_saved_with_the_model(tiny_model, tmp_path):
    tiny_model.channel = "first"
    tiny_model.save_pretrained(tmp_path)
    assert Captioner.from_pretrained(tmp_path, device="cpu").model.channel == "first"
    assert Captioner.from_pretrained(tmp_path, device="cpu", channel="loudest").model.channel == "loudest"


def test_the_channel_decides_what_is_heard(lively_model, paths, tmp_path):
    left, right = load_audio(paths[0])[:16_000], load_audio(paths[5])[:16_000] * 3
    soundfile.write(tmp_path / "two.wav", torch.stack([left, right], dim=1).numpy(), 16_000, "FLOAT")
    captioner, options = Captioner(lively_model), {"max_new_tokens": 8, "num_candidates": 2}
    alone = [captioner.caption(side, **options).candidates for side in (left, right)]
    assert alone[0] != alone[1]
    for channel, expected in (("first", alone[0]), ("loudest", alone[1])):
        lively_model.channel = channel
        assert captioner.caption(tmp_path / "two.wav", **options).candidates == expected
        assert captioner.caption([tmp_path / "two.wav"], **options)[0].candidates == expected


def test_sampling_gives_several_captions_and_consensus_chooses_one(lively_model, paths):
    torch.manual_seed(0)
    captioner = Captioner(lively_model, similarity=cider_similarity())
    found = captioner.caption(paths[:3], do_sample=True, num_candidates=4, max_new_tokens=6)
    for prediction in found:
        assert len(prediction.candidates) == 4
        assert prediction.caption == consensus(prediction.candidates, cider_similarity()).text
    assert len({candidate.text for prediction in found for candidate in prediction.candidates}) > 3


def test_windows_are_captioned_as_the_same_sounds_alone(lively_model, paths, tmp_path):
    sound = torch.cat([load_audio(path) for path in paths])
    path = tmp_path / "long.flac"
    soundfile.write(path, sound.numpy(), SAMPLE_RATE, subtype="PCM_24")
    captioner = Captioner(lively_model)
    bad: list[BadFile] = []
    batches = captioner.caption_segments(
        [tmp_path / "none.wav", path], SETTINGS, window_seconds=3.0, hop_seconds=2.0, bad_files=bad
    )
    segments = [segment for batch in batches for segment in batch]
    assert segments[0].start == 0.0
    assert segments[-1].end == len(sound) / SAMPLE_RATE
    assert [segment.start for segment in segments] == [2.0 * number for number in range(len(segments))]
    assert [file.index for file in bad] == [0]
    decoded = load_audio(path)
    for segment in segments:
        part = decoded[round(segment.start * SAMPLE_RATE) : round(segment.end * SAMPLE_RATE)]
        alone = captioner.caption(part, max_new_tokens=8)
        assert segment.candidates[0].text == alone.caption


def test_the_longest_sound_fits_into_the_context_and_a_longer_one_does_not(tiny_model):
    seconds = longest_seconds(tiny_model, SETTINGS)
    prompt = len(tiny_model.prompt)
    context = tiny_model.decoder.config.max_position_embeddings
    assert tiny_model.token_budget(seconds) + prompt + 8 <= context
    assert tiny_model.token_budget(seconds + 1) + prompt + 8 > context


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.zeros((100, 2)), "transpose"),
        (np.zeros((3, 2, 100)), r"got \(3, 2, 100\)"),
        (np.zeros(0), "at least one sample"),
        (np.array([0.0, np.nan]), "nan at sample 1"),
        (np.array([0.0, np.inf]), "inf at sample 1"),
        (np.ones(9, dtype=bool), "bool"),
        ({"array": np.zeros(9)}, "pass its 'array'"),
        (None, "NoneType"),
        ("", "an empty text"),
        ('[{"audio": "a.wav"}]', "looks like JSON"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(tiny_model, sound, message):
    with pytest.raises(AudioError, match=message):
        Captioner(tiny_model).caption(sound)


def test_an_unknown_setting_is_an_error(tiny_model, paths):
    with pytest.raises(TypeError, match="num_beam"):
        Captioner(tiny_model).caption(paths, num_beam=2)


def test_a_saved_model_captions_as_before(tiny_model, tmp_path, paths):
    with torch.no_grad():
        for name, parameter in tiny_model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    expected = Captioner(tiny_model).caption(paths, max_new_tokens=8)
    tiny_model.save_pretrained(tmp_path)
    loaded = Captioner.from_pretrained(tmp_path, device="cpu")
    assert words(loaded.caption(paths, max_new_tokens=8)) == words(expected)
    assert not any(layer.training for layer in loaded.model.modules())


def test_the_number_format_is_by_the_device_unless_it_is_named():
    assert choose_dtype(None, "cpu") is torch.float32
    assert choose_dtype("auto", "cuda:1") is torch.bfloat16
    assert choose_dtype("float16", "cpu") is torch.float16
    with pytest.raises(ValueError, match="got 'double'"):
        choose_dtype("double", "cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1"),
        ({"num_candidates": 4}, "num_candidates 4 needs as many beams"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens must be from 0"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"temperature": 0.0}, "must be above 0"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GenerationConfig(**options)


def test_a_window_that_does_not_fit_is_named_and_not_captioned(tiny_model, paths, monkeypatch):
    bad: list[BadFile] = []
    monkeypatch.setattr("aac_llm.captioning.captioner.longest_seconds", lambda *_: 3.0)
    windows = Captioner(tiny_model).caption_segments(
        paths, SETTINGS, window_seconds=4.0, hop_seconds=4.0, bad_files=bad
    )
    assert sorted({segment.index for batch in windows for segment in batch}) == [0, 1]
    assert [file.index for file in bad] == [2, 3, 4, 5]
    assert "--window_seconds" in bad[0].reason


def test_a_name_that_no_file_has_is_left_out_of_a_list_and_named(tiny_model, paths):
    bad: list[BadFile] = []
    names = ["x" * 5000, "\ud800.wav", "a\0b", str(paths[0])]
    found = Captioner(tiny_model).caption(names, bad_files=bad, max_new_tokens=2)
    assert [one.id for one in found] == names[3:]
    assert sorted(file.index for file in bad) == [0, 1, 2]
