"""Pure TensorFlow and Keras: strategies, models, the training loop, artifacts and measurements.

TensorFlow is an extra, in one of several builds, and takes seconds to load: modules here import it
inside functions or are themselves imported only by code that is about to use it. What a training
with Keras on JAX needs of it imports Keras alone; the rest of that is in ``on_jax``.
"""
