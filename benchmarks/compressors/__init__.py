"""What compression.py measures, a comparison a file."""
