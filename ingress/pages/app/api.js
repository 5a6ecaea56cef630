// The archive's HTTP interface. The session is a cookie that scripts cannot read; what changes
// something carries the session's token beside it.
import { queryOf } from "./routing.js";
import { remember, remembered } from "./words.js";

let current = null;
const leaving = new Set();

/** An error of the archive, or of the way to it (`code` "unreachable"). */
export class Problem extends Error {
  constructor(document, status = 0, retryAfter = null) {
    super(document.detail || document.title || document.code);
    this.name = "Problem";
    this.status = status;
    this.code = document.code ?? "unreachable";
    this.title = document.title ?? "";
    this.detail = document.detail ?? "";
    this.errors = document.errors ?? [];
    this.images = document.images ?? [];
    this.requestId = document.request_id ?? null;
    this.retryAfter = retryAfter;
    this.scope = this.code === "scope_missing" ? (/\b(upload|query|read|paths|admin)\b/.exec(this.detail)?.[1] ?? null) : null;
  }
}

export const session = () => current;

export const may = (scope) => Boolean(current?.scopes.some((one) => one === scope || one === "admin"));

export const token = () => current?.token ?? null;

/** Calls `fn` when the session has ended. */
export function onEnd(fn) {
  leaving.add(fn);
}

/** The session that the cookie stands for, or null. Where none was begun here, nobody is asked. */
export async function resume() {
  if (!remembered("session")) return null;
  try {
    current = await get("/session");
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    current = null;
  }
  return current;
}

/** Enters with `{key}` or `{code}`. */
export async function enter(secret) {
  current = await send("POST", "/session", secret);
  remember("session", "begun");
  return current;
}

export async function leave() {
  await send("DELETE", "/session");
  end();
}

function end() {
  if (!current) return;
  current = null;
  remember("session", null);
  for (const fn of leaving) fn();
}

export function address(path, params = {}) {
  const query = queryOf(params).toString();
  return query ? `${path}?${query}` : path;
}

export const get = async (path, params, options) => (await call("GET", path, { params, ...options })).json();

export const getBytes = async (path, params, options) =>
  (await call("GET", path, { params, ...options })).arrayBuffer();

/** Sends a change; null where the answer has no body. */
export async function send(method, path, body, { params, idempotencyKey, headers = {}, signal } = {}) {
  const all = { ...headers };
  if (idempotencyKey) all["Idempotency-Key"] = idempotencyKey;
  if (body !== undefined) all["Content-Type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  const ask = () => call(method, path, { params, headers: { ...all, "X-CSRF-Token": token() ?? "" }, body: text, signal });
  let answer;
  try {
    answer = await ask();
  } catch (problem) {
    if (problem.code !== "cross_site" || !current || !(await renew())) throw problem;
    answer = await ask();
  }
  return answer.status === 204 ? null : answer.json();
}

/** Takes up the session that another tab began; whether it is the same person's. */
export async function renew() {
  const now = await get("/session");
  if (now.owner !== current?.owner || now.key_id !== current.key_id) return false;
  current = now;
  return true;
}

async function call(method, path, { params, ...options }) {
  let answer;
  try {
    answer = await fetch(address(path, params), { method, credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ code: "unreachable", title: error.message });
  }
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  const isWayIn = method === "POST" && path === "/session"; // a wrong key ends nothing
  if (problem.status === 401 && !isWayIn) end();
  throw problem;
}

async function problemOf(answer) {
  const seconds = Number.parseFloat(answer.headers.get("Retry-After") ?? "");
  const document = await answer.json().catch(() => ({ code: "internal_error", title: answer.statusText }));
  return new Problem(document, answer.status, Number.isNaN(seconds) ? null : seconds);
}

/** The problem in an XMLHttpRequest's answer; `upload.js` needs its progress events. */
export function problemIn(request) {
  const seconds = Number.parseFloat(request.getResponseHeader("Retry-After") ?? "");
  let document = { code: request.status ? "internal_error" : "unreachable" };
  try {
    document = JSON.parse(request.responseText);
  } catch {
    /* no answer, or not ours */
  }
  if (request.status === 401) end();
  return new Problem(document, request.status, Number.isNaN(seconds) ? null : seconds);
}

/**
 * Returns `ask` such that of calls under way at once only the last one's answer counts: the others
 * end with it. Else a slow answer of before would take the place of a newer one.
 */
export function lastOnly(ask) {
  let last = null;
  return (...given) => {
    const mine = ask(...given).then(
      (answer) => (mine === last ? answer : last),
      (problem) => {
        if (mine === last) throw problem;
        return last;
      },
    );
    last = mine;
    return mine;
  };
}
