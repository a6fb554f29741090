"""Who may begin tasks of which service, against the real store."""

import pytest
from control_harness import ME, leader

from secretfs.control.audit import Caller, records
from secretfs.control.usecases import rights
from secretfs.control.usecases.rights import Rights
from secretfs.control.usecases.services import Beside
from secretfs.control.usecases.tasks import AttachRequest
from secretfs.core.grant import GrantRequest
from secretfs.core.names import Kind
from secretfs.core.service import Extras
from secretfs.errors import AmbiguousError, NotFoundError, PermissionDeniedError

USER = Caller(uid=4321, gid=4322, pid=1)
ADHOC = (GrantRequest(Kind.SECRET, "db", "other"),)
NOBODYS = Rights(trusted=False)


@pytest.fixture
async def web(control):
    """A service of one secret, whose tasks uid 4321 and gid 7 may begin; and one that nobody may."""
    await control.secret("db")
    for name, extras in (("web", Extras(allow_uids=(4321,), allow_gids=(7,))), ("other", Extras())):
        draft = await control.draft(name, "db")
        draft = type(draft)(draft.name, draft.labels, draft.references, draft.spec, Beside(extras, {}))
        await control.services.create(ME, draft)
    return control


async def attached(control, who: Rights | None, service: str | None, grants=(), caller: Caller = USER):
    return await control.tasks.attach(caller, AttachRequest(service, grants, "/run/secrets"), leader(), who)


async def refusal(control, who: Rights | None, service: str | None, grants=(), caller: Caller = USER) -> str:
    with pytest.raises(PermissionDeniedError) as refused:
        await attached(control, who, service, grants, caller)
    assert await control.tasks.listed() == []
    return str(refused.value)


@pytest.mark.parametrize("who", [NOBODYS, Rights(trusted=False, gids=(8,)), None])
async def test_a_uid_that_a_service_names_may(web, who):
    assert (await attached(web, who, "web")).task.uid == USER.uid


async def test_a_group_that_a_service_names_may(web):
    await attached(web, Rights(trusted=False, gids=(8, 7)), "web", caller=Caller(4400, 4400, 1))


@pytest.mark.parametrize("name", ["other", "none", "o", "", "no such/name"])
async def test_who_may_not_is_not_told_what_there_is(web, name):
    text = await refusal(web, NOBODYS, name)
    assert text == (
        f"uid 4321 may not run tasks of service {name}: root lets it with "
        f"'secretfs service update --allow-uid 4321 {name}'"
    )


async def test_who_is_trusted_is_told(web):
    with pytest.raises(NotFoundError, match="service none not found"):
        await attached(web, Rights(trusted=True), "none")
    for number in range(40):
        await web.service(f"more{number}")
    prefixes = [found.value.id[0] for found in await web.services.listed()]
    with pytest.raises(AmbiguousError):
        await attached(web, Rights(trusted=True), max(prefixes, key=prefixes.count))


async def test_a_uid_that_no_service_names_may_not(web):
    who = Caller(4400, 4400, 1)
    assert "uid 4400 may not run tasks of service web" in await refusal(web, NOBODYS, "web", caller=who)
    assert "uid 4400 may not" in await refusal(web, None, "web", caller=who)


async def test_root_in_no_namespace_of_the_daemon_is_not_root_where_its_rights_say_so(web):
    assert "uid 0 may not" in await refusal(web, NOBODYS, "web", caller=Caller(0, 0, 1))


@pytest.mark.parametrize("service", [None, "web"])
async def test_nobody_grants_himself_anything(web, service):
    assert (await refusal(web, NOBODYS, service, ADHOC)).startswith("uid 4321 may not grant itself secrets: ")


async def test_the_group_of_the_api_may_all_that_root_may(web):
    assert (await attached(web, Rights(trusted=True), "other", ADHOC)).task.uid == USER.uid


# -- through a service's own socket ------------------------------------------------------------------------------------


async def of(control, name: str, *, trusted: bool = True) -> Rights:
    return Rights(trusted=trusted, only=(await control.services.inspect(name)).value.id)


@pytest.mark.parametrize("named", [None, "other", "OTHER", "id"])
async def test_its_socket_is_good_for_a_service(web, named):
    who = await of(web, "other")
    assert (await attached(web, who, who.only if named == "id" else named)).task.service_name == "other"


@pytest.mark.parametrize("named", ["web", "none", "o", ""])
async def test_its_socket_is_good_for_no_other(web, named):
    assert await refusal(web, await of(web, "other"), named) == "this socket is for tasks of service other only"


async def test_its_socket_grants_nothing_else_not_even_to_root(web):
    text = await refusal(web, await of(web, "other"), "other", ADHOC, caller=ME)
    assert text.startswith("this socket gives what its service is granted, and nothing else")


async def test_its_socket_is_no_way_round_for_a_user_of_the_host(web):
    assert "uid 4321 may not run tasks of service other" in await refusal(
        web, await of(web, "other", trusted=False), None
    )
    await attached(web, await of(web, "web", trusted=False), None)


async def test_the_socket_of_a_service_that_is_gone_is_good_for_nothing(web):
    who = await of(web, "other")
    await web.services.remove(ME, "other")
    with pytest.raises(NotFoundError):
        await attached(web, who, None)


# -- how many ----------------------------------------------------------------------------------------------------------


async def test_a_user_has_a_number_of_tasks_which_no_restart_forgets(web, monkeypatch):
    monkeypatch.setattr(rights, "MAX_TASKS_OF_UID", 3)
    tasks = [(await attached(web, NOBODYS, "web")).task.id for _ in range(3)]
    for control in (web, web.again()):
        with pytest.raises(PermissionDeniedError, match="uid 4321 has 3 running tasks, which is the most: end one"):
            await attached(control, NOBODYS, "web")
        await attached(control, None, "web", caller=ME)
        await attached(control, Rights(trusted=False, gids=(7,)), "web", caller=Caller(4400, 7, 1))
    await web.tasks.detach(tasks[0], "a test")
    await attached(web, NOBODYS, "web")


async def test_a_service_s_socket_begins_a_number_of_tasks(web, monkeypatch):
    monkeypatch.setattr(rights, "MAX_TASKS_OF_SERVICE", 2)
    who = await of(web, "web")
    for uid in (0, 100_000):
        await attached(web, who, None, caller=Caller(uid, uid, 1))
    with pytest.raises(PermissionDeniedError, match="service web has 2 running tasks, which is the most"):
        await attached(web, who, None, caller=Caller(0, 0, 1))
    await attached(web, None, "web", caller=ME)


async def test_a_refusal_is_in_the_audit_and_what_was_made_up_is_cut(web):
    await web.tasks.refused(USER, "x" * 5000, "y" * 5000, more=3)
    record = (await records(web.store))[-1]
    assert (record.action, record.uid, record.pid) == ("task refused", USER.uid, USER.pid)
    assert (len(record.name), len(record.detail["Reason"]), record.detail["More"]) == (256, 256, 3)
