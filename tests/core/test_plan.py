from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from secretfs.core.grant import Grant, Target, TargetSet
from secretfs.core.names import Kind, ObjectId, ObjectName
from secretfs.core.plan import (
    Effect,
    Entry,
    Expose,
    Flush,
    Replace,
    Tree,
    VersionRef,
    desired_tree,
    difference,
    tree_of,
)
from secretfs.core.secret import DRAIN_MS, Secret, Version

A, B = ObjectId("a" * 25), ObjectId("b" * 25)


def secret(id_: ObjectId, *numbers: int, kind: Kind = Kind.SECRET) -> Secret:
    versions = tuple(Version(number, 0, 100 + number) for number in numbers)
    return Secret(kind, id_, ObjectName(id_[0]), {}, 0, 0, versions)


def grant(id_: ObjectId, target: str, version: int | None = None, mode: int = 0o444) -> Grant:
    return Grant(Kind.SECRET, id_, ObjectName(id_[0]), Target(target), 1, 2, mode, version)


def entry(target: str, id_: ObjectId = A, number: int = 1, uid: int = 0) -> Entry:
    return Entry(Kind.SECRET, target, uid, 0, 0o444, VersionRef(id_, number), 5)


def applied(tree: Tree, effects: tuple[Effect, ...]) -> Tree:
    """What fs does with effects, without fs; each must fit what is there at its turn."""
    files = dict(tree)
    for effect in effects:
        match effect:
            case Flush(old):
                assert files.pop((old.kind, old.target)) == old
            case Replace(old, new):
                assert files[old.kind, old.target] == old
                assert (old.kind, old.target) == (new.kind, new.target)
                files[new.kind, new.target] = new
            case Expose(new):
                assert (new.kind, new.target) not in files
                files[new.kind, new.target] = new
        assert fits(files)
    return files


def fits(tree: Tree) -> bool:
    taken = {kind: TargetSet() for kind in Kind}
    return all(taken[kind].add(target) is None for kind, target in tree)


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
ENTRIES = st.builds(
    Entry,
    st.sampled_from(Kind),
    PATHS,
    st.integers(0, 1),
    st.integers(0, 1),
    st.sampled_from([0o444, 0o400]),
    st.builds(VersionRef, st.sampled_from([A, B]), st.integers(1, 2)),
    st.integers(1, 9),
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    taken = {kind: TargetSet() for kind in Kind}
    entries = draw(st.lists(ENTRIES, max_size=8))
    return tree_of(e for e in entries if taken[e.kind].add(e.target) is None)


@given(trees(), trees())
def test_applying_the_difference_gives_the_desired_tree_by_way_of_possible_trees_only(
    current: Tree, desired: Tree
) -> None:
    assert applied(current, difference(current, desired)) == desired


@given(trees(), trees())
def test_flushes_come_first_and_exposures_last(current: Tree, desired: Tree) -> None:
    rank = {Flush: 0, Replace: 1, Expose: 2}
    ranks = [rank[type(effect)] for effect in difference(current, desired)]
    assert ranks == sorted(ranks)


@given(trees())
def test_a_tree_differs_from_itself_by_nothing(tree: Tree) -> None:
    assert difference(tree, tree) == ()


@given(trees(), trees())
def test_a_target_that_stays_is_never_absent(current: Tree, desired: Tree) -> None:
    effects = difference(current, desired)
    gone = {(e.entry.kind, e.entry.target) for e in effects if isinstance(e, Flush)}
    assert not gone & desired.keys()


def test_another_version_of_the_same_object_drains() -> None:
    assert Replace(entry("x", A, 1), entry("x", A, 2)).drain_ms == DRAIN_MS
    assert Replace(entry("x", A, 2), replace(entry("x", A, 1, uid=7), drain_ms=5)).drain_ms == 5


def test_another_object_or_another_owner_does_not_drain() -> None:
    assert Replace(entry("x", A, 1), entry("x", B, 2)).drain_ms == 0
    assert Replace(entry("x", A, 1), entry("x", A, 1, uid=7)).drain_ms == 0


def test_only_another_object_at_the_target_revokes() -> None:
    assert Replace(entry("x", A, 1), entry("x", B, 2)).revokes
    assert not Replace(entry("x", A, 1), replace(entry("x", A, 2), drain_ms=0)).revokes


def test_the_drain_of_a_version_is_that_of_grants_that_follow_the_newest() -> None:
    newest = secret(A, 1, 2)
    newest = replace(newest, versions=(newest.versions[0], replace(newest.newest, drain_ms=7)))
    tree = desired_tree([grant(A, "x"), grant(A, "y", 2)], {A: newest})
    assert [file.drain_ms for file in tree.values()] == [7, DRAIN_MS]


def test_how_a_file_comes_makes_no_difference() -> None:
    assert not difference(tree_of([entry("x")]), tree_of([replace(entry("x"), drain_ms=0)]))


def test_grant_shows_the_newest_version_and_a_pin_its_own() -> None:
    tree = desired_tree([grant(A, "x"), grant(A, "y", 1)], {A: secret(A, 1, 2)})
    assert tree == tree_of(
        [
            Entry(Kind.SECRET, "x", 1, 2, 0o444, VersionRef(A, 2), 102),
            Entry(Kind.SECRET, "y", 1, 2, 0o444, VersionRef(A, 1), 101),
        ]
    )


def test_the_same_secret_on_two_targets_has_two_owners_and_modes() -> None:
    one = Grant(Kind.SECRET, A, ObjectName("a"), Target("one"), 103, 103, 0o440)
    two = Grant(Kind.SECRET, A, ObjectName("a"), Target("two"), 0, 0, 0o400)
    tree = desired_tree([one, two], {A: secret(A, 1)})
    assert [(e.uid, e.gid, e.mode) for e in tree.values()] == [(103, 103, 0o440), (0, 0, 0o400)]


def test_what_cannot_be_shown_is_left_out() -> None:
    objects = {A: secret(A, 2), B: secret(B, 1, kind=Kind.CONFIG)}
    gone = ObjectId("c" * 25)
    grants = [grant(gone, "gone"), grant(A, "pruned", 1), grant(A, "/etc/x"), grant(B, "other-kind")]
    assert desired_tree(grants, objects) == {}


def test_the_earlier_of_two_conflicting_grants_is_shown() -> None:
    grants = [grant(A, "x"), grant(B, "x"), grant(B, "x/y"), grant(B, "z")]
    tree = desired_tree(grants, {A: secret(A, 1), B: secret(B, 1)})
    assert {target: e.content.object_id for (_, target), e in tree.items()} == {"x": A, "z": B}


def test_a_grant_that_cannot_be_shown_takes_no_target_from_another() -> None:
    tree = desired_tree([grant(A, "x", 9), grant(B, "x")], {A: secret(A, 1), B: secret(B, 1)})
    assert tree[Kind.SECRET, "x"].content == VersionRef(B, 1)


def test_only_nine_bits_of_a_mode_are_applied() -> None:
    (shown,) = desired_tree([grant(A, "x", mode=0o4755)], {A: secret(A, 1)}).values()
    assert shown.mode == 0o755


@given(st.lists(st.builds(grant, st.sampled_from([A, B]), PATHS, st.none() | st.integers(1, 3))))
def test_a_desired_tree_is_always_a_possible_one(grants: list[Grant]) -> None:
    assert fits(desired_tree(grants, {A: secret(A, 1, 2)}))
