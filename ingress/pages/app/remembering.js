// What an upload has done so far, kept in IndexedDB: after a reload it says what is left.
const STORE = "files";
let opening = null;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("uploads", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function within(mode, work) {
  try {
    const store = (await database()).transaction(STORE, mode).objectStore(STORE);
    const request = work(store);
    return await new Promise((resolve, reject) => {
      store.transaction.oncomplete = () => resolve(request?.result);
      store.transaction.onabort = () => reject(store.transaction.error);
    });
  } catch {
    return null; // private windows may have no storage: the upload works, a reload forgets it
  }
}

export const keepFiles = (rows) => within("readwrite", (store) => {
  for (const row of rows) store.put(row);
});

export const keptFiles = async () => (await within("readonly", (store) => store.getAll())) ?? [];

export const forgetFiles = () => within("readwrite", (store) => store.clear());
