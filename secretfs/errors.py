"""Every exception of secretfs. A class is a thing that a caller can *do differently*; its docstring says when.

Text: lower case, no full stop, the offending value with ``!r`` where Docker's own text does not decide otherwise, never
a secret and never a key. The text is complete without its class: it names the object and says what is wrong.
"""


class SecretfsError(Exception):
    """Anything that secretfs refuses or fails at, said in words for a person."""


# --- the caller's fault: nothing was changed ---


class InvalidArgumentError(SecretfsError):
    """A rule about names, sizes, grants or fields was broken. Docker: 400, ``InvalidArgument``."""


class InvalidNameError(InvalidArgumentError):
    """A secret, config, service or task name that cannot be one."""


class InvalidGrantError(InvalidArgumentError):
    """A grant (``--secret`` value or its fields) that cannot be one."""


class ComposeError(InvalidArgumentError):
    """A compose file that cannot be one, or that asks for what secretfs does not do; the text says where."""


class ObjectInUseError(InvalidArgumentError):
    """A secret or config is granted to a service or a running task; the text names them."""


class BadRequestError(SecretfsError):
    """A request that is not well-formed (filter, version, JSON). Docker: 400, no prefix."""


class AmbiguousError(BadRequestError):
    """An ID prefix fits several objects."""


class NotFoundError(SecretfsError):
    """There is no such object; the text names it. Docker: 404."""


class AlreadyExistsError(SecretfsError):
    """The name is taken. Docker: 409."""


class OutOfSequenceError(SecretfsError):
    """The object has changed since the caller read it. Docker: 500, ``update out of sequence``."""


class PreconditionError(SecretfsError):
    """The object is not in a state for this. Docker: 400, ``FailedPrecondition``."""


class UnimplementedError(SecretfsError):
    """secretfs does not do this. Docker: 501."""


class PluginNotFoundError(SecretfsError):
    """A secret driver that nothing provides. Docker: 500, ``Unknown``."""


class PermissionDeniedError(SecretfsError):
    """The peer may not do this. Docker: 403."""


class ConflictError(SecretfsError):
    """What is asked for does not fit the state that things are in. Docker: 409, no prefix."""


class WrongUnlockKeyError(SecretfsError):
    """The unlock key is not the one of this store. Docker: 401."""


class UsageError(SecretfsError):
    """The command line is wrong: exit code 2."""


# --- the machine's fault: what was acknowledged is still there ---


class UnavailableError(SecretfsError):
    """A part of secretfs does not answer right now; the caller may try again. Docker: 503."""


class LockedError(UnavailableError):
    """The store is locked: nothing new is shown or changed until somebody gives the unlock key. Docker's text."""

    def __init__(self) -> None:
        super().__init__(
            "Swarm is encrypted and needs to be unlocked before it can be used. "
            'Please use "docker swarm unlock" to unlock it.'
        )


class NotInSwarmError(UnavailableError):
    """The swarm was left, and with it everything that there was. Docker's text."""

    def __init__(self) -> None:
        super().__init__(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
            "swarm and try again."
        )


class ArenaFullError(UnavailableError):
    """The arena (``--arena-max``) or the machine's lockable memory has no room for a value."""


class StoreError(SecretfsError):
    """The store cannot do what it was asked."""


class StoreFullError(StoreError):
    """The disk of the store is full: nothing was changed."""


class StoreVersionError(StoreError):
    """The store was written by a newer secretfs, or is no store at all."""


class CorruptRecordError(StoreError):
    """A record's bytes are not what was written; the text names the record, nothing is served from it."""


class WithheldError(SecretfsError):
    """fs: control has a value, but may not open it now. What else the tree shows is not concerned."""


class UnsealError(SecretfsError):
    """A value or key could not be opened: wrong key or changed bytes. Which of the two is not told."""


class RootKeyError(SecretfsError):
    """The root key source gave no usable key; the text names the source and what to do."""


class SetupError(SecretfsError):
    """The machine, a directory or a file is not fit for the daemon to start; the text says what to do."""


class LinkError(SecretfsError):
    """A peer process sent a frame that cannot be decoded, or went away."""


class AttachError(SecretfsError):
    """``secretfs run`` could not put its tree in place; the program was not started."""


class ProgramNotFoundError(AttachError):
    """The program of ``secretfs run`` is not there: exit code 127."""


class ProgramNotExecutableError(AttachError):
    """The program of ``secretfs run`` is there and cannot be run: exit code 126."""
