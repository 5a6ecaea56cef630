// Addresses: `#/photos/<id>?tag=cat`. Everything that a screen shows can be read from its address.
export const SCREENS = ["photos", "search", "duplicates", "labels", "queries", "pipeline", "inbox"];

/** The place that an address names; an unknown one is Photos. */
export function placeOf(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [screen, ...rest] = path.split("/");
  const id = rest.length ? decoded(rest.join("/")) : null;
  return {
    screen: SCREENS.includes(screen) ? screen : "photos",
    id: SCREENS.includes(screen) && id ? id : null,
    params: new URLSearchParams(query),
  };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const place = () => placeOf(location.hash);

/** The address of a screen; empty parameters are left out, lists are repeated. */
export function link(screen, id = null, params = {}) {
  const query = queryOf(params).toString();
  return `#/${screen}${id ? `/${encodeURIComponent(id)}` : ""}${query ? `?${query}` : ""}`;
}

export function queryOf(params) {
  if (params instanceof URLSearchParams) return params;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") query.append(name, String(one));
    }
  }
  return query;
}

/** Goes to an address; `replace` leaves no step behind for Back. */
export function go(hash, { replace = false } = {}) {
  if (hash === location.hash) return;
  if (!replace) location.hash = hash;
  else {
    const old = location.href;
    history.replaceState(history.state, "", hash);
    dispatchEvent(new HashChangeEvent("hashchange", { oldURL: old, newURL: location.href }));
  }
}

export function onPlace(fn) {
  addEventListener("hashchange", () => fn(place()));
}
