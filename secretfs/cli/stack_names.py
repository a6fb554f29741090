"""Names of stacks, and what belongs to one. Rule: a stack is the objects that have its label, whoever made them."""

from secretfs.errors import InvalidArgumentError

NAMESPACE = "com.docker.stack.namespace"  # core/compose/build.py, whose import a listing would wait for


def check_name(stack: str) -> None:
    """Refuse a name of nothing: the label of every stack would fit it. Raises: InvalidArgumentError, docker's text."""
    if not stack.strip():
        raise InvalidArgumentError(f'invalid stack name: "{stack}"')


def filter_of(stack: str) -> str:
    """The value of ``--filter`` for what belongs to the stack."""
    check_name(stack)
    return f"label={NAMESPACE}={stack}"
