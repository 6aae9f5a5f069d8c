"""What training.py measures: the loops, the processes they run in, and each part's comparison."""
