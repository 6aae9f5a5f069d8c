"""python -m runner: the command."""

from runner.cli import main

if __name__ == "__main__":
    main()
