"""`python -m tsjepa`: the command line. It is an entry point as the command itself, so that nothing imports it."""

from tsjepa.cli.main import main

if __name__ == "__main__":
    main()
