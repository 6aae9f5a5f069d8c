"""Quantizers of exported models, a file for each runtime's own.

Each has ``quantize(source, target, recipe, samples)``, from an ONNX file that holds floats to a
file of the runtime.
"""
