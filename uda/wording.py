"""How numbers of things are said."""


def counted(count: int | str, noun: str) -> str:
    """Return "1 image", "2 images", "3 classes"; noun: in the singular, with words before it if need be."""
    if str(count) == "1":
        return f"{count} {noun}"
    return f"{count} {noun}{'es' if noun.endswith('s') else 's'}"
