"""Other engines for the transformer of CED, for `int8.py`: ONNX Runtime, torchao and torch.compile.

Each takes the place of the encoder's blocks and is given pieces of equal length at once; log-mel, patches and
what follows stay ours. What is not installed is skipped, and said. `torch.compile` needs a C++ compiler.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from audio_common.attention import Layout, Packed, attend_by_products
from audio_common.ced import CED
from torch import Tensor, nn
from torch.export import Dim

Run = Callable[[Tensor], Tensor]
ENGINES = {
    "onnx-fp32": "onnxruntime",
    "onnx-dynamic": "onnxruntime",
    "onnx-static": "onnxruntime",
    "torchao": "torchao",
    "torchao-compiled": "torchao",
    "compiled-fp32": "torch",
    "compiled-bf16": "torch",
    "compiled-int8": "torch",
}
"""What can be measured beside ours, and the package that it needs."""


@dataclass(frozen=True)
class Rows(Layout):
    """Tokens `(pieces, size, dim)`, all of them there."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention; all `(pieces, size, heads, head_dim)`."""
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        attend = attend_by_products if q.dtype == torch.bfloat16 else F.scaled_dot_product_attention
        return attend(q, k, v).transpose(1, 2)

    def keep_pieces(self, rate: float, like: Tensor) -> Tensor:
        """Nothing is dropped in evaluation."""
        raise NotImplementedError


class Stack(nn.Module):
    """The blocks, over pieces of equal length `(pieces, size, dim)`."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        layout = Rows()
        for block in self.blocks:
            x = block(x, layout)
        return x


class ByPieces(nn.Module):
    """In the place of the blocks: an engine's `run` over each run of equally long pieces."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Tokens `(tokens, dim)`, packed, to the same."""
        assert isinstance(layout, Packed)
        runs = [(size, len(list(run))) for size, run in groupby(layout.sizes)]
        parts = x.split([size * count for size, count in runs])
        pieces = [part.unflatten(0, (count, size)) for part, (size, count) in zip(parts, runs, strict=True)]
        return torch.cat([self.run(each).flatten(0, 1) for each in pieces])


def with_engine(name: str, ours: dict[str, CED], folder: Path) -> CED | None:
    """Return the encoder in float32 with `name` for its blocks, or None where its package is missing."""
    try:
        __import__(ENGINES[name])
    except ImportError as error:
        print(f"{name} is left out: {error}")
        return None
    precision = name.removeprefix("compiled-") if name.startswith("compiled-") else "fp32"
    model = copy.deepcopy(ours[precision])
    stack = Stack(model.blocks).eval()
    if name.startswith("onnx"):
        run = _onnx(model, name.removeprefix("onnx-"), folder)
    else:
        run = _by_torchao(stack) if name.startswith("torchao") else stack
        if "compiled" in name:
            _compile(stack)
    model.blocks = nn.ModuleList([ByPieces(run)])
    return model


def warm_up(model: CED, waveforms: Tensor, lengths: list[int]) -> tuple[float, float]:
    """Encode for the first time; seconds on the clock, and of processors, those of compilers too."""
    start, before = time.perf_counter(), os.times()
    model(waveforms, lengths)
    after = os.times()
    return time.perf_counter() - start, sum(after[:4]) - sum(before[:4])


def _compile(stack: Stack) -> None:
    """Block by block, since one program then serves all of them; lengths are dynamic once they differ."""
    for block in stack.blocks:
        block.compile()


def _by_torchao(stack: Stack) -> Stack:
    """8 bits, a scale for each output and, as ours, for each token."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    quantize_(stack, Int8DynamicActivationInt8WeightConfig())
    return stack


def _onnx(model: CED, kind: str, folder: Path) -> Run:
    """ONNX Runtime on one thread: `dynamic` has one scale for each input as a whole, `static` fixed ones."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

    exact, path = folder / "fp32.onnx", folder / f"{kind}.onnx"
    if not exact.exists():
        _export(Stack(model.blocks).eval(), model.config.embed_dim, exact)
    if kind == "dynamic":
        quantize_dynamic(exact, path, per_channel=True, weight_type=QuantType.QInt8)
    if kind == "static":
        layers = _products_with_weights(exact)
        quantize_static(exact, path, _Noise(model), per_channel=True, nodes_to_quantize=layers)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def _export(stack: Stack, dim: int, path: Path) -> None:
    shapes = ({0: Dim("pieces", min=1), 1: Dim("size", min=1)},)
    example = torch.randn(2, 12, dim)
    program = torch.onnx.export(
        stack, (example,), dynamo=True, dynamic_shapes=shapes, input_names=["x"], verbose=False
    )
    assert program is not None
    program.save(str(path))


def _products_with_weights(path: Path) -> list[str]:
    import onnx

    graph = onnx.load(path).graph
    weights = {each.name for each in graph.initializer}
    return [
        node.name for node in graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights
    ]


class _Noise:
    """What a static quantizer learns its scales of: tokens of three batches of noise."""

    def __init__(self, model: CED) -> None:
        self.batches = iter([_tokens_of(model, seed) for seed in range(1, 4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError


def _tokens_of(model: CED, seed: int) -> dict[str, np.ndarray]:
    """What comes to the first block for two clips of ten seconds."""
    seen: list[Tensor] = []
    hook = model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    generator = torch.Generator().manual_seed(seed)
    model(0.1 * torch.randn(2, 160_000, generator=generator))
    hook.remove()
    return {"x": seen[0].unflatten(0, (2, -1)).numpy()}
