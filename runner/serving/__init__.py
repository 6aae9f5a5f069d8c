"""Models out of their folders, whatever their form, each run by its own runtime in a process apart.

What is said of a model here is said of its files as a fresh process loaded them.
"""
