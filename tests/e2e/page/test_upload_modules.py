"""What an upload does with hundreds of files, and after the page was loaded again."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.page.faked import faked_page, signed_in

#: The server: answers a broken file with its reason; counts what is under way at once.
_SERVER = """() => {
  window.server = { sent: [], now: 0, most: 0 };
  window.XMLHttpRequest = class {
    upload = {};
    open(method, address) { this.address = address; }
    setRequestHeader() {}
    getResponseHeader() { return null; }
    abort() {}
    send(file) {
      server.sent.push(file.name);
      server.now += 1;
      server.most = Math.max(server.most, server.now);
      setTimeout(() => {
        server.now -= 1;
        this.upload.onprogress({ loaded: file.size });
        const error = { code: "truncated", title: "half", detail: "half of it" };
        const isBroken = file.name.startsWith("broken");
        const image = isBroken ? { status: "failed", error } : { status: "accepted", token: "t" };
        this.status = 202;
        this.responseText = JSON.stringify({ images: [{ image_id: file.name, ...image }] });
        this.onloadend();
      });
    }
  };
  answers["GET /session"].instance.max_upload_bytes = 1e6;
  window.filesOf = (kind, count, type = "image/jpeg") => Array.from({ length: count }, (_, at) => {
    const name = `${kind} ${at}.jpg`;
    return { name, file: new File([name], name, { type, lastModified: 7 }) };
  });
  window.ended = async (sending) => {
    while (sending.counts().waiting) await new Promise((done) => setTimeout(done, 20));
  };
}"""


@pytest.fixture(name="page")
def _page(browser: Browser) -> Iterator[Page]:
    with faked_page(browser) as page:
        signed_in(page)
        page.evaluate(_SERVER)
        page.evaluate("import('/api.js').then(({ resume }) => resume())")
        yield page


def test_of_five_hundred_files_each_comes_to_its_end_three_at_once(page: Page) -> None:
    found = page.evaluate("""async () => {
      const { Sending, idOf } = await import("/sending.js");
      const here = filesOf("here", 30), known = new Set();
      for (const { file } of here) known.add(await idOf(await file.arrayBuffer()));
      answers["GET /images"] = (address) => {
        const id = new URL(address, location.origin).searchParams.get("id");
        return { images: known.has(id) ? [{ image_id: id, status: "tagged", tags: [] }] : [] };
      };
      const sending = new Sending(() => {});
      const others = [...filesOf("broken", 20), ...filesOf("text", 5, "text/plain")];
      sending.add([...here, ...others, ...filesOf("good", 445)]);
      await ended(sending);
      const first = { ...sending.counts(), sent: server.sent.length, most: server.most };
      const reasons = {};
      for (const { state, reason } of sending.items) {
        if (state === "refused") reasons[reason] = (reasons[reason] ?? 0) + 1;
      }
      server.sent = [];
      sending.retry();
      await ended(sending);
      return { first, reasons, again: server.sent, last: sending.counts() };
    }""")

    first = found["first"]
    assert (first["done"], first["here"], first["refused"], first["all"]) == (445, 30, 25, 500)
    assert (first["sent"], first["most"]) == (465, 3)
    assert found["reasons"] == {"truncated": 20, "not_an_image": 5}
    assert len(found["again"]) == 20
    assert all(name.startswith("broken") for name in found["again"])
    assert found["last"]["refused"] == 25


def test_after_a_reload_the_rest_is_named_and_a_second_drop_sends_only_that(page: Page) -> None:
    found = page.evaluate("""async () => {
      const { Sending } = await import("/sending.js");
      const { keepFiles, keptFiles } = await import("/remembering.js");
      answers["GET /images"] = { images: [] };
      const files = filesOf("good", 20);
      const before = new Sending(() => before.counts().done >= 8 && before.pause(true));
      before.pause = function (is) { this.isPaused = is; };
      before.add(files);
      const soon = () => new Promise((done) => setTimeout(done, 20));
      while (before.busy || before.counts().done < 8) await soon();
      while ((await keptFiles()).filter(({ state }) => state === "done").length
             < before.counts().done) await soon();
      const sent = server.sent;
      server.sent = [];
      const after = new Sending(() => {});
      after.recall(await keptFiles());
      const told = after.counts();
      const names = after.items.filter(({ state }) => state === "left").map(({ name }) => name);
      after.add(files);
      await ended(after);
      return { sent, told, names, again: server.sent, last: after.counts() };
    }""")

    assert found["told"]["done"] == len(found["sent"]) >= 8
    assert found["told"]["left"] == len(found["names"]) == 20 - len(found["sent"])
    assert set(found["again"]) == set(found["names"])
    assert found["last"]["done"] == 20


def test_no_name_of_a_file_is_kept_after_the_upload_was_ended(page: Page) -> None:
    signed_in(page)

    kept = page.evaluate("""async () => {
      const { Sending } = await import("/sending.js");
      const { forgetFiles, keptFiles } = await import("/remembering.js");
      const sending = new Sending(() => {});
      sending.pause(true);
      sending.add([{ file: new File(["x"], "secret.jpg"), name: "secret.jpg" }]);
      while (!(await keptFiles()).length) await new Promise((done) => setTimeout(done, 50));
      sending.add([{ file: new File(["y"], "secret2.jpg"), name: "secret2.jpg" }]);
      sending.stop();
      await forgetFiles();
      await new Promise((done) => setTimeout(done, 2 * 400)); // twice what writing waits for
      return keptFiles();
    }""")

    assert kept == []


def test_a_photo_that_could_not_be_read_is_sent_again(page: Page) -> None:
    sent = page.evaluate("""async () => {
      const { Sending } = await import("/sending.js");
      let state = "failed";
      answers["GET /images"] = (address) => ({ images: [{ status: state, tags: [],
        image_id: new URL(address, location.origin).searchParams.get("id") }] });
      const sending = new Sending(() => {});
      sending.add(filesOf("failed", 1));
      await ended(sending);
      state = "tagged";
      sending.add(filesOf("tagged", 1));
      await ended(sending);
      return server.sent;
    }""")

    assert sent == ["failed 0.jpg"]
