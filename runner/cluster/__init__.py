"""Ray: find or start a cluster, read what it offers, run gangs of workers on it.

The only package that imports ray. Its exceptions are mapped to runner's errors here.
"""
