"""Pruning: weights set to zero, and channels and heads that are taken out of a model for good."""
