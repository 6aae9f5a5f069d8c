"""Pure PyTorch: data, models, the training loop, distillation, artifacts and measurements.

The only package of runner that imports torch. It knows nothing of Ray, of specs or of run folders:
everything here is called with plain values and can be used from any script.
"""
