// The virtual handset: its conversation, live, and what it sends.
import { ask, byId, el, formatted, icon, oneAtATime, page, picture, toast } from "./common.js";

const E164 = /^\+[1-9]\d{6,14}$/;
const SHOWN_MAX = 200;
const PICTURE_BYTES_MAX = 3_000_000;

export function startHandset({ openMessage }) {
  const conversation = byId("conversation");
  const numberField = byId("handset-number");
  const composer = byId("composer");
  const body = byId("composer-body");
  const to = byId("composer-to");
  const file = byId("composer-file");
  let number = page.handset;
  let attached = null;
  // Bubbles by the handset's own message id.
  let shown = new Map();
  let shownNumber = null;
  let lastDay = "";

  const stored = readStored();
  if (stored && E164.test(stored)) {
    number = stored;
    numberField.value = stored;
  }

  function readStored() {
    try {
      return localStorage.getItem("onterms.handset");
    } catch {
      return null;
    }
  }

  const path = () => `/simulator/v1/handsets/${encodeURIComponent(number)}/messages`;

  function complain(id, words) {
    const place = byId(id);
    place.textContent = words ?? "";
    place.hidden = !words;
  }

  function bubble(message) {
    const content = [];
    message.media_urls.forEach((url, place) => content.push(picture(url, `Picture ${place + 1} of the message`)));
    if (message.body) content.push(el("p", {}, message.body));
    const isOut = message.direction === "sent";
    const peer = isOut ? `to ${message.to}` : `from ${message.from}`;
    const facts = [formatted.minute(new Date(message.at)), peer];
    if (message.segments > 1) facts.push(`${message.segments} segments`);
    if (message.direction === "undelivered") facts.push("never arrived");
    const meta = el("span", { class: "meta" }, facts.join(" · "));
    const kind = isOut ? "out" : message.direction === "undelivered" ? "lost" : "in";
    const attributes = { class: "bubble", "data-kind": kind };
    if (message.sid) {
      return el("button", { ...attributes, type: "button", title: "Show what happened to this message", onclick: () => openMessage(message.sid) }, content, meta);
    }
    return el("div", attributes, content, meta);
  }

  function showEmpty() {
    conversation.replaceChildren(
      el("div", { class: "empty small" },
        el("strong", {}, "Nothing here yet"),
        el("p", {}, "This is a phone that only exists in here. Send to ", el("b", {}, number), " with the API and it rings; write below and your number's webhook is called."),
        el("p", {}, "Any number can be a handset: type another one above."),
      ),
    );
  }

  const refresh = oneAtATime(async () => {
    const asked = number;
    let messages;
    try {
      messages = await ask("GET", `${path()}?direction=all&last=${SHOWN_MAX}`);
    } catch (error) {
      complain("handset-problem", error.message);
      return;
    }
    if (asked !== number) return;
    complain("handset-problem", null);
    conversation.dataset.number = asked;
    if (asked !== shownNumber || messages.length < shown.size || messages.every((message) => !shown.has(message.id))) {
      shown = new Map();
      shownNumber = asked;
      lastDay = "";
      conversation.replaceChildren();
    }
    if (messages.length === 0) {
      showEmpty();
      return;
    }
    const isAtEnd = conversation.scrollHeight - conversation.scrollTop - conversation.clientHeight < 80 || shown.size === 0;
    const isFirst = shown.size === 0;
    let newest = 0;
    for (const message of messages) {
      if (shown.has(message.id)) continue;
      const day = formatted.day(new Date(message.at));
      if (day !== lastDay) {
        conversation.append(el("p", { class: "day" }, day));
        lastDay = day;
      }
      const element = bubble(message);
      if (!isFirst) element.classList.add("arriving");
      shown.set(message.id, element);
      conversation.append(element);
      newest += 1;
    }
    if (newest && isAtEnd) {
      conversation.scrollTop = conversation.scrollHeight;
      for (const image of conversation.querySelectorAll("img")) {
        image.addEventListener("load", () => { conversation.scrollTop = conversation.scrollHeight; }, { once: true });
      }
    }
  });

  async function suggestHandsets() {
    try {
      const known = await ask("GET", "/simulator/v1/handsets?limit=20");
      const numbers = new Set([page.handset, ...known.map((handset) => handset.number)]);
      byId("handsets").replaceChildren(...[...numbers].map((value) => el("option", { value })));
    } catch {
      // Suggestions only: the field takes any number.
    }
  }

  function useNumber(value) {
    const wanted = value.replace(/[\s().-]/g, "");
    if (wanted === number) return;
    if (!E164.test(wanted)) {
      complain("handset-problem", "A number like +14155550123, with country code.");
      numberField.setAttribute("aria-invalid", "true");
      return;
    }
    numberField.removeAttribute("aria-invalid");
    complain("handset-problem", null);
    number = wanted;
    numberField.value = wanted;
    try {
      localStorage.setItem("onterms.handset", wanted);
    } catch {
      // Without storage the choice lasts until the page is left.
    }
    refresh();
  }

  async function send(text) {
    complain("composer-problem", null);
    if (!to.value) {
      complain("composer-problem", "The account has no number to write to.");
      return false;
    }
    const message = { to: to.value, body: text };
    if (attached) message.media_urls = [attached];
    if (!text && !attached) {
      body.focus();
      return false;
    }
    composer.setAttribute("aria-busy", "true");
    try {
      await ask("POST", path(), message);
      setAttached(null);
      await refresh();
      conversation.scrollTop = conversation.scrollHeight;
      return true;
    } catch (error) {
      complain("composer-problem", error.message);
      return false;
    } finally {
      composer.removeAttribute("aria-busy");
    }
  }

  function setAttached(url) {
    attached = url;
    file.value = "";
    const place = byId("attached");
    place.hidden = url === null;
    place.replaceChildren();
    if (url !== null) {
      place.append(
        el("img", { src: url, alt: "The picture to send" }),
        el("button", { type: "button", class: "bare", "aria-label": "Remove the picture", onclick: () => { setAttached(null); body.focus(); } }, icon("close")),
      );
    }
  }

  function grow() {
    body.style.height = "auto";
    body.style.height = `${Math.min(body.scrollHeight, 120)}px`;
  }

  byId("handset-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useNumber(numberField.value);
  });
  numberField.addEventListener("change", () => useNumber(numberField.value));
  numberField.addEventListener("focus", suggestHandsets);
  body.addEventListener("input", grow);
  body.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      composer.requestSubmit();
    }
  });
  composer.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (composer.hasAttribute("aria-busy")) return;
    if (await send(body.value.trim())) {
      body.value = "";
      grow();
      body.focus();
    }
  });
  composer.addEventListener("click", (event) => {
    const word = event.target.closest("[data-quick]")?.dataset.quick;
    if (word && !composer.hasAttribute("aria-busy")) send(word);
  });
  file.addEventListener("change", () => {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > PICTURE_BYTES_MAX) {
      toast("The picture is larger than 3 MB.", "bad");
      file.value = "";
      return;
    }
    const reader = new FileReader();
    reader.addEventListener("load", () => { setAttached(reader.result); body.focus(); });
    reader.readAsDataURL(chosen);
  });

  return { refresh };
}
