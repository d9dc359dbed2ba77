"""`python -m tsjepa.cli`."""

from tsjepa.cli.main import main

if __name__ == "__main__":
    main()
