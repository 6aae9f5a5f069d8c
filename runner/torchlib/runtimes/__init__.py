"""The runtimes that are PyTorch's own, a file each with one function, ``open_model``.

See runner.edge.runtimes, which holds the others.
"""
