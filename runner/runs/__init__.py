"""Carry out a Plan: the driver, the run folder, its records; find runs again."""
