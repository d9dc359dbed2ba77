"""What training raises where it cannot go on."""


class TrainingError(RuntimeError):
    """Training that cannot go on, with the reason and what to do."""
