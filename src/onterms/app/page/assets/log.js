// The message log: newest first, filtered, in pages; rows keep their place in the document while they change.
import { ask, badge, byId, copyButton, el, formatted, icon, isToday, oneAtATime, page, timeOf } from "./common.js";

const PAGE_SIZE = 25;

export function startLog({ openMessage }) {
  const list = byId("messages");
  const empty = byId("log-empty");
  const pager = byId("pager");
  const older = byId("older");
  const newer = byId("newer");
  const number = byId("filter-number");
  const status = byId("filter-status");
  // The SID that each page begins after; the first page begins at the newest.
  let befores = [null];
  let rows = new Map();
  let lastSid = null;
  let isFirstLook = true;

  const isFiltered = () => Boolean(number.value.trim() || status.value);

  function row(message) {
    const isIn = message.direction === "inbound";
    const words = message.body || (message.num_media ? `${message.num_media} attachment${message.num_media > 1 ? "s" : ""}` : "No text");
    const extra = message.error_code ? el("span", { class: "code-tag" }, String(message.error_code)) : null;
    const clip = message.num_media ? el("span", { class: "clip", title: `${message.num_media} attached` }, icon("clip")) : null;
    return el("button", { type: "button", class: "row", "data-sid": message.sid, onclick: () => openMessage(message.sid) },
      el("span", { class: "way", "data-way": isIn ? "in" : "out" }, icon(isIn ? "in" : "out"), el("span", { class: "hidden" }, isIn ? "received" : "sent")),
      el("span", { class: "peers" }, el("span", {}, message.from), el("span", { class: "to-arrow", "aria-label": "to" }, "→"), el("span", {}, message.to)),
      el("span", { class: "state" }, extra, badge(message.status)),
      el("span", { class: message.body ? "words" : "words none" }, clip, words),
      timeOf(message.created_at, (at) => (isToday(at) ? formatted.time(at) : `${formatted.day(at)}, ${formatted.minute(at)}`)),
    );
  }

  function teach() {
    empty.hidden = false;
    if (isFiltered()) {
      empty.replaceChildren(
        el("strong", {}, "No message fits the filter"),
        el("p", {}, "A number is matched in full, with its country code, on either side."),
        el("button", { type: "button", onclick: clear }, "Clear the filter"),
      );
      return;
    }
    const step = (title, ...content) => el("li", {}, el("b", {}, title), content);
    const command = document.querySelector("#keys-heading") && document.querySelector(".code code").textContent;
    const example = document.querySelectorAll(".code code")[1].textContent;
    empty.replaceChildren(
      el("strong", {}, "Send your first message"),
      el("p", {}, "Three steps, and every message after that shows up here by itself."),
      el("ol", { class: "steps" },
        step("Point a shell at this server",
          el("p", {}, "The official SDKs then run unchanged."),
          el("div", { class: "code" }, el("pre", { tabindex: "0" }, el("code", {}, command)), copyButton("Copy the shell line", command))),
        step(page.handset ? "Send a message to the handset" : "Send a message",
          el("p", {}, "twilio-python, with no change to your code:"),
          el("div", { class: "code" }, el("pre", { tabindex: "0" }, el("code", {}, example)), copyButton("Copy the example", example))),
        step("Look at its life",
          el("p", {}, page.handset ? "Choose the message here to see each status, each webhook call and its answer. Then reply from the handset." : "Choose the message here to see each status, each webhook call and its answer.")),
      ),
    );
  }

  function show(answer) {
    const fresh = new Map();
    let place = list.firstElementChild;
    for (const message of answer.messages) {
      const signature = JSON.stringify(message);
      const known = rows.get(message.sid);
      let item = known?.item;
      if (!item) {
        item = el("li", {}, row(message));
        if (!isFirstLook && befores.length === 1) item.classList.add("arriving");
      } else if (known.signature !== signature) {
        // A row that has the focus keeps it when its status moves on.
        const hadFocus = item.contains(document.activeElement);
        item.replaceChildren(row(message));
        if (hadFocus) item.firstElementChild.focus({ preventScroll: true });
      }
      fresh.set(message.sid, { item, signature });
      if (item === place) place = place.nextElementSibling;
      else list.insertBefore(item, place);
    }
    for (const [sid, { item }] of rows) if (!fresh.has(sid)) item.remove();
    rows = fresh;
    lastSid = answer.messages.at(-1)?.sid ?? null;
    isFirstLook = false;
    list.setAttribute("aria-busy", "false");
    list.hidden = answer.messages.length === 0;
    if (answer.messages.length === 0) teach();
    else empty.hidden = true;
    older.disabled = !answer.has_more;
    newer.disabled = befores.length === 1;
    pager.hidden = older.disabled && newer.disabled;
    byId("page-number").textContent = `Page ${befores.length}`;
  }

  const refresh = oneAtATime(async () => {
    const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
    if (number.value.trim()) query.set("number", number.value.trim());
    if (status.value) query.set("status", status.value);
    if (befores.at(-1)) query.set("before", befores.at(-1));
    try {
      show(await ask("GET", `/console/v1/messages?${query}`));
    } catch (error) {
      empty.hidden = false;
      empty.replaceChildren(el("strong", {}, "The log cannot be read"), el("p", {}, error.message));
    }
  });

  function restart() {
    befores = [null];
    isFirstLook = true;
    return refresh();
  }

  function clear() {
    number.value = "";
    status.value = "";
    restart();
    number.focus();
  }

  let typing;
  number.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(restart, 200);
  });
  status.addEventListener("change", restart);
  byId("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    restart();
  });
  async function turn() {
    isFirstLook = true;
    await refresh();
    byId("log-heading").scrollIntoView({ block: "nearest" });
  }
  older.addEventListener("click", () => {
    if (!lastSid) return;
    befores.push(lastSid);
    turn();
  });
  newer.addEventListener("click", () => {
    if (befores.length > 1) befores.pop();
    turn();
  });
  list.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const item = event.target.closest("li");
    const next = event.key === "ArrowDown" ? item?.nextElementSibling : item?.previousElementSibling;
    if (next) {
      event.preventDefault();
      next.firstElementChild.focus();
    }
  });

  return { refresh };
}
