"""One attempt at one task on one rank: an Order in, records out. Nothing here knows of Ray."""
