"""The error that commands print as one line."""


class UserError(ValueError):
    """One line for the person at the keyboard: file or key, what came, what is due, the remedy."""
