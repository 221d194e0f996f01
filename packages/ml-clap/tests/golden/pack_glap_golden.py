"""Make `glap.npz`: tiny random weights of GLAP under its published names, and what its authors' code gives.

The authors' code is that of the wheels `dasheng` 0.0.9 and `glap_model` 0.0.13 (both Apache-2.0), which need
einops and torchaudio; it is run here and not copied:

    PYTHONPATH=<folder with the two wheels unpacked, and einops> python pack_glap_golden.py

Weights are rounded to half precision before anything is computed, so that the file is small.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import nn

DIM, EMBED_DIM, VOCABULARY = 32, 16, 320
IDS = (257, 20, 33, 1, 47, 3)
"""Token ids in fairseq2's order: a language, pieces with one unknown, the end."""


def load_their_text_encoder() -> type[nn.Module]:
    # Alone: the package's __init__ wants a dozen libraries.
    found = importlib.util.find_spec("glap_model")
    assert found is not None
    assert found.submodule_search_locations is not None
    path = Path(found.submodule_search_locations[0], "models/textencoders/sonar_standalone.py")
    spec = importlib.util.spec_from_file_location("sonar_standalone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SonarTextEncoder


def make_head(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, EMBED_DIM), nn.ReLU(), nn.Linear(EMBED_DIM, EMBED_DIM))


def main() -> None:
    from dasheng.pretrained.pretrained import Dasheng

    torch.manual_seed(0)
    parts = {
        "audio_encoder.model": Dasheng(embed_dim=DIM, depth=1, num_heads=2),
        "text_encoder.model": load_their_text_encoder()(
            vocab_size=VOCABULARY,
            model_dim=DIM,
            num_layers=1,
            num_heads=2,
            ffn_inner_dim=48,
            max_seq_len=514,
            pad_idx=0,
        ),
        "audio_proj": make_head(DIM),
        "text_proj": make_head(DIM),
    }
    for part in parts.values():
        part.eval()
        for parameter in part.parameters():
            parameter.data = (parameter.data + 0.05 * torch.randn_like(parameter)).half().float()
    audio = parts["audio_encoder.model"]
    audio.init_bn[1].running_mean.copy_((torch.randn(64) * 5 - 40).half().float())
    audio.init_bn[1].running_var.copy_((torch.rand(64) * 200 + 50).half().float())
    time = torch.arange(48_000) / 16_000
    clip = (0.3 * torch.sin(2 * torch.pi * (200 + 900 * time) * time) * (1 - time / 4)).half().float()
    with torch.inference_mode():
        tokens = audio(clip[None])
        ids = torch.tensor([IDS])
        vector = parts["text_encoder.model"](ids, torch.zeros_like(ids, dtype=torch.bool))
        outputs = {
            "audio_embedding": nn.functional.normalize(parts["audio_proj"](tokens.mean(1)), dim=-1)[0],
            "text_embedding": nn.functional.normalize(parts["text_proj"](vector), dim=-1)[0],
        }
    state = {
        f"{prefix}.{name}": value
        for prefix, part in parts.items()
        for name, value in part.state_dict().items()
    }
    stored = {
        name: value.half().numpy() if "front_end" not in name and value.is_floating_point() else value.numpy()
        for name, value in state.items()
    }
    np.savez_compressed(
        Path(__file__).parent / "glap.npz",
        clip=clip.half().numpy(),
        text_ids=np.array(IDS),
        **{name: value.numpy() for name, value in outputs.items()},
        **{f"weight:{name}": value for name, value in stored.items()},
    )


if __name__ == "__main__":
    main()
