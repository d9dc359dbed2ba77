"""The command line of tsjepa."""
