"""Signing in and out: cookies, one-time links, how long a session lasts, what is told of it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from core.storage import keys, sessions
from core.storage.stream import heartbeats
from core.vision.decoding.sniff import MEDIA_TYPES
from ingress.auth.access import HEADER
from ingress.auth.api_keys import MadeKey, Scope, make_key
from ingress.auth.sessions import COOKIE, LOOPBACK_COOKIE
from ingress.operations import Call
from tests.integration.ingress.connections.test_sharing import asked
from tests.integration.ingress.page.beating import beat_of
from tests.integration.ingress.page.signing_in import LOOPBACK, SECURE, browser, page_of, signed_in
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import NOW, MakeWorld, World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CACHED_S = 5.1  # what was read of a session is not believed for longer


async def code_of(world: World, key: MadeKey) -> str:
    async with world.client() as http:
        made = await http.post("/session/link", headers={HEADER: key.text})
    assert made.status_code == 200
    address, _, code = made.json()["url"].partition("/#code=")
    assert address == world.base_url
    return str(code)


def flags_of(response: httpx.Response) -> set[str]:
    _, *flags = response.headers["set-cookie"].split("; ")
    return {flag.lower() for flag in flags}


async def test_a_link_of_somebody_elses_makes_nobody_another_one_unasked(world: World) -> None:
    theirs = await code_of(world, await world.key(Scope.READ, owner="bob"))
    async with signed_in(world, await world.key(Scope.READ)) as http:
        refused = await http.post("/session", json={"code": theirs})
        still = await http.get("/session")
        wrong = await http.post("/session", json={"code": "x" * 43})
        asked_for = await http.post("/session", json={"code": theirs, "leave": True})
        then = await http.get("/session")

    problem_in(refused, "signed_in_as_other")
    assert "set-cookie" not in refused.headers
    assert still.json()["owner"] == "alice"
    problem_in(wrong, "key_invalid")
    assert asked_for.status_code == 200, "the code was not used up"
    assert then.json()["owner"] == "bob"


@pytest.mark.parametrize("who", ["the same owner", "one whose session has ended"])
async def test_a_link_asks_nothing_where_nobody_becomes_another_one(world: World, who: str) -> None:
    owner = "alice" if who == "the same owner" else "bob"
    code = await code_of(world, await world.key(Scope.READ, owner=owner))
    async with signed_in(world, await world.key(Scope.READ)) as http:
        if owner == "bob":
            cookie = http.cookies[LOOPBACK_COOKIE]
            assert (await http.delete("/session")).status_code == 204
            http.cookies.set(LOOPBACK_COOKIE, cookie)
        begun = await http.post("/session", json={"code": code})

    assert begun.status_code == 200, begun.text


async def test_over_tls_the_cookie_is_kept_from_scripts_other_hosts_and_plain_http(
    world: World,
) -> None:
    key = await world.key(Scope.READ)
    async with browser(world, SECURE) as http:
        begun = await http.post("/session", json={"key": key.text})
        shown = await http.get("/session")

    assert begun.status_code == shown.status_code == 200
    assert begun.headers["set-cookie"].startswith(f"{COOKIE}=")
    assert flags_of(begun) == {"httponly", "secure", "samesite=strict", "path=/", "max-age=604800"}
    assert begun.headers["cache-control"] == "no-store"


async def test_over_plain_http_on_this_machine_the_cookie_has_its_plain_name(world: World) -> None:
    key = await world.key(Scope.READ)
    for address in (LOOPBACK, "http://localhost:8080", "http://[::1]:8080"):
        async with browser(world, address) as http:
            begun = await http.post("/session", json={"key": key.text})

            assert begun.headers["set-cookie"].startswith(f"{LOOPBACK_COOKIE}=")
            assert flags_of(begun) == {"httponly", "samesite=strict", "path=/", "max-age=604800"}
            assert (await http.get("/session")).status_code == 200


async def test_over_plain_http_elsewhere_nobody_signs_in_and_no_cookie_is_taken(
    world: World,
) -> None:
    key = await world.key(Scope.READ)
    async with signed_in(world, key) as here:
        value = here.cookies[LOOPBACK_COOKIE]
    async with browser(world, "http://nas.local:8080") as http:
        begun = await http.post("/session", json={"key": key.text})
        cookie = {"Cookie": f"{LOOPBACK_COOKIE}={value}"}
        shown = await http.get("/session", headers=cookie)
        listed = await http.get("/images", headers=cookie)

    problem_in(begun, "insecure_origin")
    assert "set-cookie" not in begun.headers
    problem_in(shown, "session_missing")
    problem_in(listed, "key_missing")


async def test_a_proxy_that_ends_tls_is_known_by_the_public_address(make_world: MakeWorld) -> None:
    world = make_world(base_url=SECURE)
    key = await world.key(Scope.READ)
    async with browser(world, "http://archive.example") as http:
        begun = await http.post("/session", json={"key": key.text})

    assert begun.headers["set-cookie"].startswith(f"{COOKIE}=")
    assert "secure" in flags_of(begun)


async def test_the_page_is_told_who_is_signed_in_and_to_what(world: World) -> None:
    await world.know("beach", "unseen")
    await world.pool.execute("UPDATE labels SET position = id")
    key = await world.key(Scope.READ, Scope.QUERY)
    async with signed_in(world, key) as http:
        shown = (await http.get("/session")).json()

    token = shown.pop("token")
    assert len(token) == 43
    assert shown == {
        "owner": "alice",
        "key_id": key.key_id,
        "scopes": ["query", "read"],
        "expires_at": (NOW + 12 * HOUR).isoformat().replace("+00:00", "Z"),
        "instance": {
            "version": "1.2.3",
            "model": "demo",
            "is_demo_model": True,
            "standalone": False,
            "scoring": "softmax",
            "labels": 2,
            "unknown_labels": ["unseen"],
            "base_url": "http://archive",
            "max_upload_bytes": 25 * 1024 * 1024,
            "max_upload_pixels": 120_000_000,
            "media_types": list(MEDIA_TYPES),
        },
    }


async def test_the_model_that_runs_is_told_rather_than_the_one_that_was_asked_for(
    world: World,
) -> None:
    await world.know("unseen")
    await world.pool.execute("UPDATE labels SET position = id")
    about = {"model": "ViT-B-32-quickgelu@0123", "lane": "fresh"}
    await heartbeats.beat(world.pool, "", [beat_of("tagging", about=about)])
    async with page_of(world, Scope.READ) as http:
        instance = (await http.get("/session")).json()["instance"]

    assert instance["model"] == "ViT-B-32-quickgelu"
    assert instance["is_demo_model"] is False
    assert instance["unknown_labels"] == []


async def test_a_key_is_told_too_and_needs_no_token(world: World) -> None:
    ends_at = NOW + DAY
    key = await world.key(Scope.READ, expires_at=ends_at)
    async with world.client() as http:
        shown = (await http.get("/session", headers={HEADER: key.text})).json()

    assert shown["token"] is None
    assert shown["key_id"] == key.key_id
    assert datetime.fromisoformat(shown["expires_at"]) == ends_at
    assert await world.count("sessions") == 0


async def test_the_cookie_does_what_the_key_does_and_no_more(world: World) -> None:
    async with page_of(world, Scope.READ) as http:
        listed = await http.get("/images")
        asked = await http.post("/images/tags", json={"text": "a dog"})

    assert listed.status_code == 200
    assert "'query'" in problem_in(asked, "scope_missing")["detail"]


async def test_a_key_wins_over_a_cookie(world: World) -> None:
    other = await world.key(Scope.READ, owner="bob")
    async with page_of(world, Scope.READ) as http:
        shown = await http.get("/session", headers={HEADER: other.text})
        wrong = await http.get("/session", headers={HEADER: "pa_x"})

    assert shown.json()["owner"] == "bob"
    assert shown.json()["token"] is None
    problem_in(wrong, "key_invalid")


async def test_the_database_has_neither_cookie_nor_code(world: World) -> None:
    key = await world.key(Scope.READ)
    code = await code_of(world, key)
    async with signed_in(world, key) as http:
        value, token = http.cookies[LOOPBACK_COOKIE], http.headers["X-CSRF-Token"]

    rows = await world.pool.fetch("SELECT s::text AS kept FROM sessions s")
    rows += await world.pool.fetch("SELECT c::text AS kept FROM session_codes c")
    kept = " ".join(row["kept"] for row in rows)
    assert len(rows) == 2
    for secret in (key.text, value, token, code):
        assert secret not in kept
        assert secret.encode().hex() not in kept


async def test_a_link_lets_in_once(world: World) -> None:
    key = await world.key(Scope.READ, Scope.QUERY)
    code = await code_of(world, key)
    async with browser(world) as first, browser(world) as second:
        begun = await first.post("/session", json={"code": code})
        again = await second.post("/session", json={"code": code})
        shown = await first.get("/session")

    assert begun.status_code == 200
    assert shown.json()["key_id"] == key.key_id
    assert shown.json()["scopes"] == ["query", "read"]
    problem_in(again, "key_invalid")
    assert "set-cookie" not in again.headers
    assert code not in begun.text + shown.text + again.text


async def test_a_link_lets_in_for_ten_minutes(world: World) -> None:
    key = await world.key(Scope.READ)
    codes = [await code_of(world, key) for _ in range(2)]
    async with browser(world) as http:
        world.now += timedelta(minutes=9, seconds=59)
        in_time = await http.post("/session", json={"code": codes[0]})
        world.now += timedelta(seconds=2)
        late = await http.post("/session", json={"code": codes[1]})

    assert in_time.status_code == 200
    problem_in(late, "key_invalid")


async def test_a_link_of_a_revoked_key_lets_nobody_in(world: World) -> None:
    key = await world.key(Scope.READ)
    code = await code_of(world, key)
    await keys.revoke(world.pool, key.key_id)

    async with browser(world) as http:
        problem_in(await http.post("/session", json={"code": code}), "key_invalid")


async def test_whoever_is_signed_in_may_make_a_link_for_another_device(world: World) -> None:
    async with page_of(world, Scope.READ) as http:
        made = (await http.post("/session/link")).json()
    code = made["url"].partition("#code=")[2]
    async with browser(world) as other:
        begun = await other.post("/session", json={"code": code})

    assert begun.json()["owner"] == "alice"
    assert datetime.fromisoformat(made["expires_at"]) == NOW + timedelta(minutes=10)


async def test_all_that_does_not_let_in_gets_the_same_words(world: World) -> None:
    key = await world.key(Scope.READ)
    used = await code_of(world, key)
    revoked = await world.key(Scope.READ)
    await keys.revoke(world.pool, revoked.key_id)
    details = set()
    async with browser(world) as http:
        await http.post("/session", json={"code": used})
        for given in (
            {"key": make_key().text},
            {"key": "pa_x"},
            {"key": revoked.text},
            {"code": used},
            {"code": "x" * 43},
        ):
            answer = await http.post("/session", json=given)
            details.add((problem_in(answer, "key_invalid")["detail"], answer.status_code))

    assert len(details) == 1


async def test_five_wrong_tries_a_minute_are_answered_and_a_right_one_passes(world: World) -> None:
    key = await world.key(Scope.READ)
    async with browser(world) as http:
        for _ in range(5):
            problem_in(await http.post("/session", json={"key": make_key().text}), "key_invalid")
        refused = await http.post("/session", json={"code": "y" * 43})
        right = await http.post("/session", json={"key": key.text})
        world.seconds += 12.1
        again = await http.post("/session", json={"key": "pa_x"})

    problem_in(refused, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    assert right.status_code == 200
    problem_in(again, "key_invalid")


SECRET = "pa_" + "s" * 43


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": SECRET, "code": SECRET},
        {"key": SECRET * 5},
        {"password": SECRET},
        {"key": [SECRET]},
        {"code": {"value": SECRET}},
        {"key": None},
    ],
)
async def test_one_of_key_and_code_is_asked_for_and_neither_is_repeated(
    world: World, body: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async with browser(world) as http:
        answer = await http.post("/session", json=body)

    problem_in(answer, "invalid_request")
    logged = capsys.readouterr()
    assert SECRET not in answer.text + logged.out + logged.err


async def test_signing_out_ends_the_session_and_what_the_browser_keeps(world: World) -> None:
    async with page_of(world, Scope.READ) as http:
        value = http.cookies[LOOPBACK_COOKIE]
        left = await http.delete("/session")
        assert LOOPBACK_COOKIE not in http.cookies
        gone = await http.get("/session")
        replayed = await http.get("/images", headers={"Cookie": f"{LOOPBACK_COOKIE}={value}"})

    assert left.status_code == 204
    assert left.headers["clear-site-data"] == '"cache"'
    problem_in(gone, "session_missing")
    problem_in(replayed, "session_missing")
    assert await world.count("sessions") == 0


async def test_signing_in_again_ends_the_session_before(world: World) -> None:
    key, other = await world.key(Scope.READ), await world.key(Scope.READ, owner="bob")
    async with signed_in(world, key) as http:
        before = http.cookies[LOOPBACK_COOKIE]
        await http.post("/session", json={"key": other.text})
        shown = await http.get("/session")
        replayed = await http.get("/session", headers={"Cookie": f"{LOOPBACK_COOKIE}={before}"})

    assert shown.json()["owner"] == "bob"
    problem_in(replayed, "session_missing")
    assert await world.count("sessions") == 1


async def test_a_wrong_key_leaves_the_session_as_it_is(world: World) -> None:
    async with page_of(world, Scope.READ) as http:
        problem_in(await http.post("/session", json={"key": "pa_x"}), "key_invalid")

        assert (await http.get("/session")).status_code == 200


async def test_signing_out_in_one_process_is_noticed_by_another_within_seconds(
    make_world: MakeWorld,
) -> None:
    one, other = make_world(), make_world()
    key = await one.key(Scope.READ)
    async with signed_in(one, key) as http, browser(other) as elsewhere:
        elsewhere.cookies = http.cookies
        assert (await elsewhere.get("/session")).status_code == 200
        await http.delete("/session")
        elsewhere.cookies.set(LOOPBACK_COOKIE, "x" * 43)
        other.seconds += CACHED_S

        problem_in(await elsewhere.get("/session"), "session_missing")


async def test_revoking_the_key_ends_its_sessions_within_seconds(world: World) -> None:
    key = await world.key(Scope.READ)
    async with signed_in(world, key) as one, signed_in(world, key) as two:
        await keys.revoke(world.pool, key.key_id)
        world.seconds += CACHED_S

        problem_in(await one.get("/images"), "session_missing")
        problem_in(await two.get("/images"), "session_missing")


@pytest.mark.parametrize("end", ["revoked", "signed out"])
async def test_a_request_that_waits_ends_with_its_session(world: World, end: str) -> None:
    key = await world.key(Scope.QUERY)
    async with signed_in(world, key) as http:
        path = await asked(http)
        waiting = asyncio.create_task(http.get(f"{path}?wait=30"))
        async with asyncio.timeout(25):
            while world.deps.guards.places.waiting.used == 0:
                await asyncio.sleep(0.01)
            if end == "revoked":
                await keys.revoke(world.pool, key.key_id)
                world.seconds += CACHED_S
            else:
                await http.delete("/session")
            answer = await waiting

    assert answer.json()["status"] == "accepted"


@pytest.mark.parametrize("is_by_key", [True, False])
async def test_what_lasts_is_told_whether_it_may_go_on(world: World, *, is_by_key: bool) -> None:
    key = await world.key(Scope.READ)
    async with signed_in(world, key) as http:
        headers = [(HEADER, key.text)] if is_by_key else list(http.headers.items())
        cookie = f"{LOOPBACK_COOKIE}={http.cookies[LOOPBACK_COOKIE]}"
    headers += [("Host", "127.0.0.1"), *([] if is_by_key else [("Cookie", cookie)])]
    request = Request(
        {
            "type": "http", "method": "GET", "scheme": "http", "path": "/events",
            "client": ("10.0.0.9", 1),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        }
    )  # fmt: skip
    principal = await world.deps.guards.ring_of(request).principal_of(request)
    call = Call(request, world.deps, principal)

    assert await call.is_still_allowed()
    await keys.revoke(world.pool, key.key_id)
    world.seconds += CACHED_S
    world.pool.is_away = True
    assert await call.is_still_allowed()  # nobody knows better
    world.pool.is_away = False
    assert not await call.is_still_allowed()


async def test_a_session_ends_after_twelve_hours_without_use(world: World) -> None:
    async with page_of(world, Scope.READ) as http:
        for _ in range(3):
            world.now += 11 * HOUR
            world.seconds += 11 * 3600
            assert (await http.get("/session")).status_code == 200
        world.now += 12 * HOUR
        world.seconds += 12 * 3600

        problem_in(await http.get("/session"), "session_missing")


async def test_a_session_ends_after_seven_days_whatever_its_use(world: World) -> None:
    async with page_of(world, Scope.READ) as http:
        ends = []
        while world.now < NOW + 7 * DAY - 6 * HOUR:
            world.now += 6 * HOUR
            world.seconds += 6 * 3600
            ends.append(datetime.fromisoformat((await http.get("/session")).json()["expires_at"]))
        world.now += 6 * HOUR
        world.seconds += 6 * 3600

        problem_in(await http.get("/session"), "session_missing")
    assert max(ends) == NOW + 7 * DAY


async def test_a_session_ends_with_its_key(world: World) -> None:
    key = await world.key(Scope.READ, expires_at=NOW + HOUR)
    async with signed_in(world, key) as http:
        shown = (await http.get("/session")).json()
        world.now += HOUR

        problem_in(await http.get("/session"), "session_missing")
    assert datetime.fromisoformat(shown["expires_at"]) == NOW + HOUR


async def test_the_use_of_a_session_is_not_written_with_each_request(world: World) -> None:
    async with page_of(world, Scope.READ) as http:
        world.pool.statements.clear()
        for _ in range(20):
            world.now += timedelta(seconds=10)
            await http.get("/images")

    written = [one for one in world.pool.statements if "UPDATE" in one]
    looked_up = [one for one in world.pool.statements if "FROM sessions" in one]
    assert written == []
    assert len(looked_up) == 1


async def test_a_session_in_memory_outlives_the_database(world: World) -> None:
    async with page_of(world, Scope.READ) as http:
        await http.get("/images")
        world.pool.is_away = True

        problem_in(await http.get("/images"), "unavailable")  # it passed; the list did not


@pytest.mark.parametrize("value", ["", "x", "x" * 43, "x" * 5000, "ж" * 43, '"; drop'])
async def test_an_invented_cookie_lets_nobody_in(world: World, value: str) -> None:
    async with world.client() as http:
        answer = await http.get(
            "/images",
            headers={b"Cookie": f"{COOKIE}={value}".encode()},
        )

    assert problem_in(answer, "session_missing")["status"] == 401
    assert answer.headers["www-authenticate"].startswith("ApiKey ")


async def test_invented_cookies_are_slowed_down_and_do_not_lock_others_out(world: World) -> None:
    key = await world.key(Scope.READ)
    async with signed_in(world, key) as right, browser(world) as wrong:
        for _ in range(5):
            wrong.cookies.set(LOOPBACK_COOKIE, make_key().text[:43])
            problem_in(await wrong.get("/images"), "session_missing")
        problem_in(await wrong.get("/images"), "rate_limited")

        assert (await right.get("/images")).status_code == 200


async def test_a_session_counts_as_its_key(make_world: MakeWorld) -> None:
    world = make_world(requests_per_second=1)
    key = await world.key(Scope.READ)
    async with signed_in(world, key) as one, signed_in(world, key) as two:
        assert (await one.get("/images")).status_code == 200
        assert (await two.get("/images")).status_code == 200
        problem_in(await one.get("/images"), "rate_limited")
        async with world.client() as by_key:
            answer = await by_key.get("/images", headers={HEADER: key.text})
        problem_in(answer, "rate_limited")


async def test_of_one_key_there_are_so_many_sessions_and_the_oldest_go(world: World) -> None:
    key = await world.key(Scope.READ)
    async with signed_in(world, key) as first:
        for _ in range(sessions.MOST_OF_A_KEY):
            world.now += timedelta(seconds=1)
            async with signed_in(world, key):
                pass
        world.seconds += CACHED_S

        problem_in(await first.get("/images"), "session_missing")
    assert await world.count("sessions") == sessions.MOST_OF_A_KEY


async def test_neither_key_nor_code_nor_cookie_is_logged_or_answered(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    key = await world.key(Scope.READ)
    code = await code_of(world, key)
    tries = ({"key": key.text}, {"code": code}, {"code": code}, {"key": key.text + "x"})
    async with browser(world) as http:
        answers = [await http.post("/session", json=body) for body in tries]
        value = http.cookies[LOOPBACK_COOKIE]
        answers.append(await http.get("/session"))
        answers.append(await http.get("/images", headers={"Cookie": "session=y"}))

    logged = capsys.readouterr()
    for secret in (key.text, code, value):
        assert secret not in logged.out + logged.err
        for answer in answers:
            assert secret not in answer.text
            assert secret not in str(answer.request.url)
    assert "route=/session" in logged.out


async def test_a_link_is_not_used_up_where_no_session_began_with_it(world: World) -> None:
    async with world.client(Scope.READ) as http:
        link = (await http.post("/session/link")).json()["url"]
    code = {"code": link.partition("#code=")[2]}
    await world.pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'cannot_connect_now'; END $$"
    )
    await world.pool.execute(
        "CREATE TRIGGER refused BEFORE INSERT ON sessions EXECUTE FUNCTION refuse()"
    )
    async with browser(world) as http:
        failed = await http.post("/session", json=code)
        await world.pool.execute("DROP TRIGGER refused ON sessions; DROP FUNCTION refuse")
        begun = await http.post("/session", json=code)
        again = await http.post("/session", json=code)

    assert failed.status_code >= 500
    assert begun.status_code == 200, begun.text
    problem_in(again, "key_invalid")
