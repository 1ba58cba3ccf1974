// The view of what was made here.

import { card } from "./cards.js";
import { announce, byId } from "./view.js";

const ROOM = 192;

/** Shows the history of `context`. */
export class GalleryView {
  #context;
  #isSure = false;

  constructor(context) {
    this.#context = context;
    context.history.addEventListener("change", () => this.show());
    byId("history-clear").addEventListener("click", () => this.#clear());
    byId("history-clear").addEventListener("blur", () => this.#ask(false));
    this.show();
  }

  /** Draws the cards anew, if the view is seen. */
  show() {
    if (byId("view-history").hidden) return;
    const { history } = this.#context;
    const cards = history.items.map((item) => {
      const forget = () => tell(history.remove(item.id), "Forgotten.");
      return card(this.#context, item, { room: ROOM, forget });
    });
    byId("history").replaceChildren(...cards);
    byId("history-empty").hidden = cards.length > 0;
    byId("history-clear").hidden = cards.length === 0;
  }

  #ask(isSure) {
    this.#isSure = isSure;
    byId("history-clear").textContent = isSure ? "Really forget all?" : "Forget all";
  }

  #clear() {
    if (!this.#isSure) {
      this.#ask(true);
      return;
    }
    this.#ask(false);
    tell(this.#context.history.clear(), "All images are forgotten.");
  }
}

/** Waits until the browser has forgotten, and tells it, or that it could not. */
async function tell(forgetting, words) {
  const isDone = await forgetting;
  const problem = byId("history-problem");
  problem.textContent = "The browser could not forget this: its database did not take the change.";
  problem.hidden = isDone;
  if (isDone) announce(words);
  byId("main").focus();
}
