"""Reading the audit through the API: a part at a time, and waiting for what is asked for."""

import base64

import trio
from control_harness import PATIENCE_SECONDS


async def test_an_answer_from_the_audit_says_how_far_it_has_looked(client, control):
    assert "secretfs-last" not in (await client("GET", "/secretfs/v1/audit")).headers
    for name in ("mine", "other", "another"):
        await control.secret(name)
    found = await client("GET", "/secretfs/v1/audit?secret=mine")
    assert ([record["Name"] for record in found.json], found.headers["secretfs-last"]) == (["mine"], "2")
    found = await client("GET", "/secretfs/v1/audit?secret=mine&after=0")
    assert (found.json, found.headers["secretfs-last"]) == ([], "2")
    found = await client("GET", "/secretfs/v1/audit?secret=mine&after=2")
    assert (found.json, found.headers["secretfs-last"]) == ([], "2")


async def test_who_follows_a_secret_is_answered_when_it_has_a_record_and_not_for_others(client, control, nursery):
    await control.secret("other")
    await control.secret("mine")
    watch, watched = control.store.watch, []

    async def watching(prefix, rev):
        watched.append(prefix)
        return await watch(prefix, rev)

    control.store.watch = watching
    answers = []

    async def follow():
        answers.append(await client("GET", "/secretfs/v1/audit?secret=mine&after=1&seconds=4"))

    nursery.start_soon(follow)
    with trio.fail_after(PATIENCE_SECONDS):
        for count, name in enumerate(("another", "third"), start=1):
            while len(watched) < count:
                await trio.lowlevel.checkpoint()
            assert answers == []
            await control.secret(name)
        while len(watched) < 3:
            await trio.lowlevel.checkpoint()
        await client("POST", "/secretfs/v1/secrets/mine/versions", {"Data": base64.b64encode(b"two").decode()})
        while not answers:
            await trio.lowlevel.checkpoint()
    assert [(record["Action"], record["Number"]) for record in answers[0].json] == [("secret update", 4)]
