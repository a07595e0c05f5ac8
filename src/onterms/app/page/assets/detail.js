// One message in full: its timeline with webhook attempts and their bodies, and code that sends it again.
import { ask, badge, byId, copyButton, el, formatted, oneAtATime, picture, span, timeOf, toneOf } from "./common.js";

const LANGUAGES = [["curl", "curl"], ["python", "Python"], ["node", "Node.js"]];
const STATUS_WORDS = {
  accepted: "Accepted", scheduled: "Scheduled", queued: "Queued", sending: "Handed to the carrier",
  sent: "Taken by the carrier", delivered: "Delivered to the handset", undelivered: "Not delivered", failed: "Failed",
  read: "Read", canceled: "Canceled", received: "Received",
};

/** Show a form as one name and value a line, JSON indented, anything else as it is. */
function readable(text) {
  const trimmed = text.trim();
  if (/^[{[]/.test(trimmed)) {
    try {
      return JSON.stringify(JSON.parse(trimmed), null, 2);
    } catch {
      return text;
    }
  }
  if (/^[\w.%+-]+=[^\s<]*$/.test(trimmed)) {
    return [...new URLSearchParams(trimmed)].map(([name, value]) => `${name}: ${value}`).join("\n");
  }
  return text;
}

function bodyBlock(title, text) {
  if (!text) return el("p", { class: "hint" }, `${title}: empty`);
  const shown = readable(text);
  return el("div", {}, el("h4", {}, title), el("div", { class: "code" }, el("pre", { tabindex: "0" }, el("code", {}, shown)), copyButton(`Copy: ${title.toLowerCase()}`, text)));
}

function errorNote(code, meaning) {
  if (!code) return null;
  return el("p", { class: "error-note" }, el("b", {}, String(code)), ` ${meaning ?? ""}`);
}

function attempt(data, isOpen, id) {
  const ok = data.status >= 200 && data.status < 300 && !data.error_code;
  const answer = data.status ? `HTTP ${data.status}` : "no answer";
  return [
    ok ? "good" : "bad",
    el("div", {},
      el("p", { class: "what" }, `Webhook ${data.purpose === "inbound" ? "called for the inbound message" : `called: ${data.purpose}`}`),
      el("p", { class: "url" }, el("code", {}, `${data.method} ${data.url}`)),
      el("p", { class: "sub" }, el("span", { class: "badge", "data-tone": ok ? "good" : "bad" }, answer), data.duration_ms === null || data.duration_ms === undefined ? "" : ` after ${span(data.duration_ms)}`),
      data.error ? el("p", { class: "sub" }, data.error) : null,
      errorNote(data.error_code, data.error_meaning),
      el("details", { class: "bodies", "data-event": id, open: isOpen }, el("summary", {}, "Request and answer"),
        bodyBlock("Request body", data.request_body), bodyBlock("Answer's body", data.response_body)),
    ),
  ];
}

function described(event, isOpen) {
  const data = event.data;
  const simple = (tone, words, sub) => [tone, el("div", {}, el("p", { class: "what" }, words), sub ? el("p", { class: "sub" }, sub) : null)];
  switch (event.type) {
    case "message.accepted":
      return simple("wait", data.direction === "outbound-reply" ? "Written by the webhook's answer" : "Accepted by the API", data.status ? `Status ${data.status}` : null);
    case "message.received":
      return simple("info", "Received from the carrier", null);
    case "message.status_changed": {
      const via = [data.carrier ? `carrier ${data.carrier}` : null, data.carrier_id ? `its id ${data.carrier_id}` : null].filter(Boolean).join(", ");
      return [toneOf(data.status), el("div", {}, el("p", { class: "what" }, STATUS_WORDS[data.status] ?? data.status), via ? el("p", { class: "sub" }, via) : null, errorNote(data.error_code, data.error_meaning))];
    }
    case "message.webhook_called":
      return attempt(data, isOpen, event.id);
    case "message.opted_out":
      return simple("bad", "The handset opted out", "No message from this number reaches it until it sends START.");
    case "message.opted_in":
      return simple("good", "The handset opted in again", null);
    case "message.redacted":
      return simple("mute", "Its text was blanked", null);
    case "message.deleted":
      return simple("mute", "Deleted", null);
    default: {
      const words = event.type.split(".").at(-1).replaceAll("_", " ");
      return simple("mute", words.charAt(0).toUpperCase() + words.slice(1), Object.keys(data).length ? JSON.stringify(data) : null);
    }
  }
}

function timeline(events, openIds) {
  let previous = null;
  return el("ol", { class: "timeline" }, events.map((event) => {
    const [tone, content] = described(event, openIds.has(String(event.id)));
    const at = new Date(event.at);
    const since = previous === null ? null : el("span", { class: "since" }, at - previous < 1 ? "" : `+${span(at - previous)}`);
    previous = at;
    return el("li", { "data-tone": tone }, el("div", { class: "when" }, timeOf(event.at), since), content);
  }));
}

export function startDetail() {
  const dialog = byId("detail");
  const place = byId("detail-body");
  let sid = null;
  let language = "curl";

  function code(snippets) {
    if (!snippets) return null;
    const block = el("code", {}, snippets[language]);
    const button = () => copyButton("Copy the code", snippets[language]);
    const frame = el("div", { class: "code", id: "again-code" }, el("pre", { tabindex: "0" }, block), button());
    const choose = (name) => {
      language = name;
      block.textContent = snippets[name];
      frame.lastElementChild.replaceWith(button());
      for (const tab of tabs.children) tab.setAttribute("aria-pressed", String(tab.dataset.language === name));
    };
    const tabs = el("div", { class: "tabs", role: "group", "aria-label": "Language" }, LANGUAGES.map(([name, words]) =>
      el("button", { type: "button", "data-language": name, "aria-pressed": String(name === language), onclick: () => choose(name) }, words)));
    return el("section", {}, el("div", { class: "heading-line" }, el("h3", {}, "Do it again in code"), tabs), frame);
  }

  function head(message) {
    const isIn = message.direction === "inbound";
    const facts = [
      ["Status", badge(message.status)],
      ["From", message.from],
      ["To", message.to],
      ["Direction", message.direction],
      ["Created", formatted.full(new Date(message.created_at))],
      ["Size", `${message.segments} segment${message.segments === 1 ? "" : "s"}, ${message.encoding}`],
    ];
    if (message.price) facts.push(["Price", message.price]);
    if (message.carrier) facts.push(["Carrier", message.carrier]);
    const media = message.media.map((file, index) => picture(`/console/v1/messages/${message.sid}/media/${file.sid}`, `Attachment ${index + 1}, ${file.content_type}`));
    return el("section", {},
      el("div", { class: "quote", "data-kind": isIn ? "in" : "out" }, media, message.body ? el("p", {}, message.body) : media.length ? null : el("p", { class: "hint" }, "No text")),
      message.error_code ? el("div", { class: "error-box" }, el("b", {}, `Error ${message.error_code}`), el("p", {}, message.error_meaning)) : null,
      el("dl", { class: "grid" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      el("p", { class: "sid" }, el("code", {}, message.sid), copyButton("Copy the message's SID", message.sid)),
    );
  }

  const refresh = oneAtATime(async () => {
    if (sid === null) return;
    const asked = sid;
    let found;
    try {
      found = await ask("GET", `/console/v1/messages/${encodeURIComponent(asked)}`);
    } catch (error) {
      if (asked === sid) place.replaceChildren(el("div", { class: "empty" }, el("strong", {}, error.status === 404 ? "There is no such message" : "The message cannot be read"), el("p", {}, error.message)));
      return;
    }
    if (asked !== sid) return;
    const signature = JSON.stringify(found);
    if (place.dataset.signature === signature) return;
    place.dataset.signature = signature;
    // What was unfolded stays so while the timeline grows.
    const openIds = new Set([...place.querySelectorAll("details[open]")].map((details) => details.dataset.event));
    const scroll = place.scrollTop;
    place.replaceChildren(
      found.message ? head(found.message) : el("p", { class: "hint" }, "This message was deleted. What happened to it is kept."),
      el("section", {}, el("h3", {}, "Timeline"), timeline(found.timeline, openIds)),
      code(found.snippets) ?? "",
    );
    place.scrollTop = scroll;
  });

  function open(wanted) {
    sid = wanted;
    delete place.dataset.signature;
    place.replaceChildren(el("p", { class: "hint" }, "Reading…"));
    if (!dialog.open) dialog.showModal();
    place.scrollTop = 0;
    if (location.hash !== `#${wanted}`) history.pushState(null, "", `#${wanted}`);
    return refresh();
  }

  function follow() {
    const [, wanted] = /^#((?:SM|MM)[0-9a-f]{32})$/.exec(location.hash) ?? [];
    if (wanted) open(wanted);
    else if (dialog.open) dialog.close();
  }

  byId("detail-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    // The backdrop belongs to the dialog, its content does not reach it.
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    sid = null;
    if (location.hash) history.pushState(null, "", location.pathname);
  });
  addEventListener("popstate", follow);
  follow();

  return { open, refresh, concerns: (sids) => sid !== null && (sids === null || sids.has(sid)) };
}
