"""What scripts/fuzz runs: each target takes text, and may refuse it; anything else is a finding."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["secretfs"]):
    from secretfs.core.compose.build import build
    from secretfs.core.compose.emit import emitted
    from secretfs.core.compose.interpolate import Interpolation
    from secretfs.core.compose.load import parsed
    from secretfs.core.compose.merge import merged
    from secretfs.core.compose.read import read
    from secretfs.core.grant import parse_grant, parse_target
    from secretfs.core.names import Kind
    from secretfs.errors import ComposeError, InvalidGrantError

VARIABLES = {"A": "a", "EMPTY": "", "MODE": "0440", "LONG": "x" * 100, "BYTES": "a\udcff", "ODD": "\x01\n\u2028"}
SEPARATOR = "\n===\n"  # between the files of one input


def compose(text: str) -> None:
    """Files, as a stack; what is printed of them is the same stack."""
    with contextlib.suppress(ComposeError):
        file = _file(*text.split(SEPARATOR))
        stack = build(file, "st")
        again = _file(emitted(file))
        assert build(again, "st") == stack
        assert emitted(again) == emitted(file)


def interpolation(text: str) -> None:
    """Variables in a text."""
    with contextlib.suppress(ComposeError):
        out = Interpolation(VARIABLES).text(text)
        assert "$" in text or out == text


def grant(text: str) -> None:
    """The value of ``--secret``."""
    for kind in Kind:
        with contextlib.suppress(InvalidGrantError):
            request = parse_grant(text, kind)
            parse_target(request.target, kind)


def _file(*sources: str):
    variables = Interpolation(VARIABLES)
    trees = [variables.tree(parsed(source, f"{at}.yml")) for at, source in enumerate(sources)]
    return merged([read(tree, "/d") for tree in trees])


TARGETS: dict[str, Callable[[str], None]] = {"compose": compose, "interpolation": interpolation, "grant": grant}
SEEDS = {
    "compose": (
        "services: {w: {image: i, secrets: [s, {source: t, target: a/b, uid: '7', mode: 04}], deploy: {replicas: 2}}}",
        "secrets: {s: {file: ./f, labels: [a=b]}, t: {external: true, name: '${A:-x}'}}",
        "configs: {c: {content: 'x$$y', template_driver: golang}, d: {environment: E}}",
        "x-a: &a {file: f}\nsecrets:\n  s:\n    <<: *a\n    name: n\n===\nsecrets: {s: {labels: {b: c}}}\n",
    ),
    "interpolation": ("$A ${A} ${B:-x${A:+y}} $$ ${C?d} ${EMPTY:?e}",),
    "grant": ("source=a,target=b/c,uid=0,gid=root,mode=0440,version=1", '"source=a,b",mode=440', "a"),
}


def main() -> None:
    """``fuzzing.py TARGET CORPUS [LIBFUZZER FLAG...]``."""
    name, corpus, *flags = sys.argv[1:]
    for at, seed in enumerate(SEEDS[name]):
        (Path(corpus) / f"seed{at}").write_text(seed)
    target = TARGETS[name]
    atheris.Setup([sys.argv[0], corpus, *flags], lambda data: target(data.decode(errors="surrogateescape")))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
