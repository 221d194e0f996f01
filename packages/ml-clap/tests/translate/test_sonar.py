"""SONAR's own encoder and decoder, tiny and random, under their published file names."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_clap.cli import main
from ml_clap.data.languages import SONAR_LANGUAGES
from ml_clap.translate.loading import load_translator
from ml_clap.translate.translator import is_sonar

needs_sonar = pytest.mark.skipif(importlib.util.find_spec("sonar") is None, reason="needs the extra `sonar`")
TEXTS = ["A dog barks twice.", "Rain falls on a roof.", "Birds sing."]


@pytest.fixture(scope="module")
def sonar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as SONAR is published: two .pt files in fairseq2's layout, and the sentencepiece model."""
    from ml_clap.models.sonar import import_sonar, to_fairseq2_layout
    from ml_clap.models.text_encoder import create_small_text_encoder
    from safetensors.torch import load_file

    import_sonar()
    from fairseq2.data.tokenizers import VocabularyInfo
    from sonar.models.sonar_text import SonarTextDecoderConfig, SonarTextDecoderFactory

    made, folder = tmp_path_factory.mktemp("encoder"), tmp_path_factory.mktemp("sonar")
    create_small_text_encoder(
        made, TEXTS, vocab_size=100, dim=64, layers=1, heads=1, languages=SONAR_LANGUAGES
    )
    state = load_file(made / "model.safetensors")
    torch.save({"model": to_fairseq2_layout(state)}, folder / "sonar_text_encoder.pt")
    config = SonarTextDecoderConfig(
        model_dim=64,
        max_seq_len=512,
        vocab_info=VocabularyInfo(
            size=len(state["embed_tokens.weight"]), unk_idx=1, bos_idx=2, eos_idx=3, pad_idx=1
        ),
        activation_fn="ReLU",
        no_scale_embedding=False,
        no_token_positional_embeddings=False,
        learned_pos=False,
        emb_dropout_p=0.1,
        attention_dropout_p=0.1,
        activation_dropout_p=0.1,
        normalize_before=True,
        num_encoder_layers=2,
        num_decoder_layers=2,
        num_encoder_attn_heads=1,
        num_decoder_attn_heads=1,
        ffn_inner_dim=96,
    )
    torch.manual_seed(1)
    decoder = SonarTextDecoderFactory(config).create_model()
    with torch.no_grad():  # words alone: a random decoder would say nothing but </s> and names of languages
        decoder.decoder_frontend.embed.weight[:4] = 0
        decoder.decoder_frontend.embed.weight[-len(SONAR_LANGUAGES) - 3 :] = 0
    torch.save({"model": decoder.state_dict()}, folder / "sonar_text_decoder.pt")
    pieces = folder / "sentencepiece.source.256000.model"
    pieces.write_bytes((made / "sentencepiece.bpe.model").read_bytes())
    return folder


def load(folder: Path, **settings: Any) -> Any:
    chosen = {"num_beams": 3, "max_tokens": 20, "device": "cpu", "dtype": torch.float32} | settings
    return load_translator(str(folder), **chosen)


@needs_sonar
def test_it_translates_as_sonars_own_pipeline(sonar: Path) -> None:
    from sonar.inference_pipelines.text import TextToTextModelPipeline

    translator = load(sonar)
    pipeline = TextToTextModelPipeline(
        translator.model.encoder, translator.model.decoder, tokenizer=translator.tokenizer
    )
    theirs = pipeline.predict(
        TEXTS, source_lang="eng_Latn", target_lang="jpn_Jpan", beam_size=3, max_gen_len=(0.0, 20)
    )
    ours = translator.translate(TEXTS, "eng_Latn", "jpn_Jpan")
    assert [one.text for one in ours] == [" ".join(text.split()) for text in theirs]
    assert all(one.text and not one.is_finished for one in ours)  # it never says </s>


@needs_sonar
def test_a_batch_gives_what_each_text_gives_alone_and_the_end_is_seen(sonar: Path) -> None:
    translator = load(sonar)
    both = translator.translate(TEXTS, "eng_Latn", "fra_Latn")
    assert both == [translator.translate([text], "eng_Latn", "fra_Latn")[0] for text in TEXTS]
    assert translator.count_tokens(TEXTS[:1]) == [
        len(translator.tokenizer.create_encoder(lang="eng_Latn", mode="source")(TEXTS[0]))
    ]
    with torch.no_grad():  # the end mark likelier than all else: the shortest translation there is
        translator.model.decoder.final_proj.weight.zero_()
        hidden = torch.zeros(64)
        hidden[0] = 1.0
        translator.model.decoder.decoder.layer_norm.weight.zero_()
        translator.model.decoder.decoder.layer_norm.bias.copy_(hidden)
        translator.model.decoder.final_proj.weight[3, 0] = 9.0
    short = translator.translate(TEXTS, "eng_Latn", "fra_Latn")
    assert all(one.is_finished for one in short)


@needs_sonar
def test_the_weights_licence_and_digest_are_known(sonar: Path) -> None:
    translator = load(sonar)
    assert translator.licence == "CC-BY-NC-4.0"
    assert translator.revision.startswith("blake2b:")
    assert translator.languages == frozenset(SONAR_LANGUAGES)
    assert load(sonar, licence="mine").licence == "mine"


@needs_sonar
def test_the_command_line_translates_with_it(sonar: Path, manifest: Path, tmp_path: Path) -> None:
    words = ["translate", str(manifest), "--languages", "fra", "zho", "--out", str(tmp_path / "out"), "-q"]
    main([*words, "--translator", str(sonar), "--max_tokens", "8", "--device", "cpu", "--num_beams", "2"])
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["licence"] == "CC-BY-NC-4.0"
    assert report["languages"]["zho_Hans"]["captions"] == 4


@needs_sonar
def test_a_file_that_is_no_decoder_is_refused(sonar: Path, tmp_path: Path) -> None:
    for file in sonar.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "sonar_text_decoder.pt")
    with pytest.raises(ValueError, match="is no decoder of SONAR: its weights begin with weight"):
        load(tmp_path)
    (tmp_path / "sonar_text_encoder.pt").unlink()
    with pytest.raises(ValueError, match=r"has no sonar_text_encoder\.pt"):
        load(tmp_path)


def test_sonar_is_known_by_its_name_or_files(tmp_path: Path) -> None:
    assert is_sonar("sonar")
    assert not is_sonar(str(tmp_path))
    (tmp_path / "sonar_text_decoder.pt").touch()
    assert is_sonar(str(tmp_path))


def test_without_its_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clips.jsonl").write_text('{"id": "a", "audio": "a.wav", "captions": "A dog barks."}\n')
    words = ["translate", str(tmp_path / "clips.jsonl")]
    monkeypatch.setattr("ml_clap.command_line.checks.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main([*words, "--languages", "fr", "--translator", "sonar", "--out", str(tmp_path / "out")])
    assert "ml-clap[sonar]" in capsys.readouterr().err


CARD_SCRIPT = """
import json, sys
import torch
from ml_clap.translate import sonar
from ml_clap.translate.loading import load_translator
sonar.ENCODER_CARD, sonar.DECODER_CARD = "tiny_encoder", "tiny_decoder"
made = load_translator("sonar", num_beams=3, max_tokens=20, device="cpu", dtype=torch.float32)
texts = made.translate(json.loads(sys.argv[1]), "eng_Latn", "fra_Latn")
print(json.dumps([made.revision, [text.text for text in texts]]))
"""


@needs_sonar
@pytest.mark.slow
def test_the_published_cards_give_what_the_files_give(
    sonar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.load(sonar / "sonar_text_encoder.pt")["model"]
    size = len(state["encoder_frontend.embed.weight"])
    vocab = {"size": size, "unk_idx": 1, "bos_idx": 2, "eos_idx": 3, "pad_idx": 1}
    sizes = {"model_dim": 64, "num_encoder_attn_heads": 1, "num_decoder_attn_heads": 1, "vocab_info": vocab}
    kinds = {
        "encoder": {**sizes, "num_encoder_layers": 1, "num_decoder_layers": 1, "ffn_inner_dim": 256},
        "decoder": {**sizes, "num_encoder_layers": 2, "num_decoder_layers": 2, "ffn_inner_dim": 96},
    }
    for kind, settings in kinds.items():
        card = {
            "name": f"tiny_{kind}",
            "model_family": f"transformer_{kind}",
            "model_arch": "basic",
            "model_config": {"_set_": settings},
            "checkpoint": str(sonar / f"sonar_text_{kind}.pt"),
            "tokenizer": str(sonar / "sentencepiece.source.256000.model"),
            "tokenizer_family": "nllb",
            "tokenizer_config": {"_set_": {"default_lang": "eng_Latn", "langs": list(SONAR_LANGUAGES)}},
        }
        (tmp_path / f"{kind}.yaml").write_text(json.dumps(card))  # JSON is YAML
    monkeypatch.setenv("FAIRSEQ2_USER_ASSET_DIR", str(tmp_path))  # read once in a process, hence another one
    command = [sys.executable, "-c", CARD_SCRIPT, json.dumps(TEXTS)]
    printed = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True).stdout
    revision, texts = json.loads(printed.splitlines()[-1])
    assert revision == "tiny_encoder and tiny_decoder"
    assert texts == [one.text for one in load(sonar).translate(TEXTS, "eng_Latn", "fra_Latn")]
