"""The captioner as a whole."""

import torch
from audio_common.audio import load_audio
from audio_common.batch import pad_waveforms


def _batch(scene_files, chosen=slice(None)):
    files = scene_files[chosen]
    waveforms, lengths = pad_waveforms([torch.as_tensor(load_audio(f.audio)) for f in files])
    return waveforms, lengths, [f.caption for f in files]


def test_loss_and_captions_of_a_clip_do_not_depend_on_its_batch_mates(tiny_model, scene_files):
    waveforms, lengths, captions = _batch(scene_files)
    labels = tiny_model.tokenize_captions(captions)
    together = tiny_model(waveforms, lengths, labels).logits
    for settings in ({"num_beams": 1}, {"num_beams": 3, "num_candidates": 2}, {"repetition_penalty": 1.3}):
        candidates = tiny_model.generate(waveforms, lengths, max_new_tokens=8, **settings)
        for index in range(len(captions)):
            alone = waveforms[index : index + 1, : lengths[index]]
            found = tiny_model.generate(alone, max_new_tokens=8, **settings)[0]
            assert [c.text for c in found] == [c.text for c in candidates[index]]
            for mine, other in zip(found, candidates[index], strict=True):
                assert abs(mine.score - other.score) < 1e-4
    for index, caption in enumerate(captions):
        own = tiny_model.tokenize_captions([caption])
        alone = tiny_model(waveforms[index : index + 1, : lengths[index]], None, own).logits
        torch.testing.assert_close(alone[0], together[index, : own.shape[1]], rtol=0, atol=2e-5)
