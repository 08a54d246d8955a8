"""Text that others wrote: nothing in it may control a terminal, or imitate a line of ours. Pure."""

import json
import unicodedata

# Control characters, invisible ones such as bidirectional overrides, and line ends of Unicode.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def is_invisible(character: str) -> bool:
    """Return whether a character is invisible, or alters the output; a line break does."""
    return unicodedata.category(character) in _INVISIBLE


def printable(text: str) -> str:
    """Replace invisible characters that alter the output, except line breaks."""
    return "".join("?" if is_invisible(each) and each != "\n" else each for each in text)


def refuse_lone_surrogates(document: object) -> None:
    """Raise ValueError for a lone surrogate in JSON, which can be neither sent nor stored."""
    json.dumps(document, ensure_ascii=False).encode()
