"""Where models go that leave their framework: the runtimes that take them, and the platforms.

``targets`` has what a kind asks about a platform, ``platforms`` and platforms.yaml what is known of
each, ``estimate`` and ``selection`` how well it suits.
"""
