"""What a device can do: how fast it multiplies, and how fast it moves data."""
