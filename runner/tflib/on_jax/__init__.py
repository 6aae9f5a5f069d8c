"""Keras on JAX: what ``runner.tflib`` has for TensorFlow, under the same names.

Nothing here, nor what it takes from the package above, imports TensorFlow. Models, artifacts,
checkpoints, optimizers, objectives and the training loop are the same code for both.
"""
