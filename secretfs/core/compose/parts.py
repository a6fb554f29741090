"""Parts that a tree must have. Rule: what is of another kind is refused with its line and its path."""

from secretfs.core.compose.tree import List, Map, Node, Scalar
from secretfs.errors import ComposeError


def text_of(node: Node, where: str, *, empty: bool = False) -> str:
    """The text of a scalar; nothing, where it may be empty, is an empty text. Raises: ComposeError."""
    if not isinstance(node, Scalar) or (node.null and not empty):
        raise ComposeError(f"{node.place}: {where} must be a string")
    return "" if node.null else node.text


def map_of(node: Node, where: str) -> Map:
    """A map. Raises: ComposeError."""
    if not isinstance(node, Map):
        raise ComposeError(f"{node.place}: {where} must be a mapping")
    return node


def labels_of(node: Node | None, where: str) -> dict[str, str]:
    """A map of texts, or a list of ``key=value``; none for None. Raises: ComposeError."""
    match node:
        case None:
            return {}
        case Map():
            return {key: text_of(item, f"{where}.{key}", empty=True) for key, item in node.items.items()}
        case List():
            pairs = (text_of(item, where).partition("=") for item in node.items)
            return {key: value for key, _, value in pairs}
    raise ComposeError(f"{node.place}: {where} must be a mapping or a list")
