"""The runtimes of exported models, a file each with one function, ``open_model``.

It takes the file, what ``model.json`` says, and a number of threads, and gives what ``Opened`` has:
a function from an array of samples (rows, *input_shape) to their outputs.
"""
