// The images that were made here, with their settings. They stay in this browser: in its database,
// or for as long as the page is open where there is none. The oldest go when there are too many.

const NAME = "mm-history";
const STORE = "images";
const MAX_ITEMS = 60;
const MAX_LETTERS = 48 << 20;

/** A bounded list of items, newest first. */
export class History extends EventTarget {
  #items = [];
  #database = null;

  /** Opens the list and reads what is in it. */
  async open() {
    try {
      this.#database = await request(openDatabase());
      const store = this.#database.transaction(STORE).objectStore(STORE);
      const items = await request(store.getAll());
      this.#items = items.sort((a, b) => b.time - a.time);
    } catch {
      this.#database = null;
    }
    this.#changed();
    return this;
  }

  /** Returns the items, newest first. */
  get items() {
    return this.#items;
  }

  /** Adds an image: `{kind, url, settings}`. */
  add(item) {
    const added = { ...item, id: crypto.randomUUID?.() ?? unique(), time: Date.now() };
    this.#items = [added, ...this.#items];
    this.#write((store) => store.put(added));
    while (this.#items.length > MAX_ITEMS || (this.#items.length > 1 && this.#isHeavy())) {
      this.#drop(this.#items[this.#items.length - 1].id);
    }
    this.#changed();
    return added;
  }

  /** Forgets one item. It is off the list when the database has it no more; says whether it is. */
  remove(id) {
    return this.#forget([id], (store) => store.delete(id));
  }

  /** Forgets all items, as `remove` forgets one. */
  clear() {
    const all = this.#items.map((item) => item.id);
    return this.#forget(all, (store) => store.clear());
  }

  async #forget(ids, change) {
    const isDone = await this.#write(change);
    if (isDone) {
      this.#items = this.#items.filter((item) => !ids.includes(item.id));
      this.#changed();
    }
    return isDone;
  }

  #isHeavy() {
    return this.#items.reduce((sum, item) => sum + item.url.length, 0) > MAX_LETTERS;
  }

  #drop(id) {
    this.#items = this.#items.filter((item) => item.id !== id);
    this.#write((store) => store.delete(id));
  }

  /** Changes the database, if there is one, and says whether it holds the change. */
  async #write(change) {
    if (!this.#database) return true;
    try {
      const transaction = this.#database.transaction(STORE, "readwrite");
      change(transaction.objectStore(STORE));
      // Without this call a page that is closed or loaded anew takes the change back.
      transaction.commit();
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      return true;
    } catch {
      // A full or closed database is no reason to lose what is on the page.
      return false;
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function openDatabase() {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
  return opening;
}

function request(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

/** Makes a name where the page is not in a secure context, which has no `randomUUID`. */
function unique() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
