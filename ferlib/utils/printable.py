"""Text of strangers, such as files' names, made safe to show."""


def printable(text: str) -> str:
    """Text without line breaks, control characters (a terminal takes some for commands) and halves of characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
