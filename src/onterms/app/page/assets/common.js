// What every part of the page uses: elements without markup, requests, times, copying, short notices.

/** Make an element: attributes by name, `on...` listeners, `data-...`; children are elements or text, never markup. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export const byId = (id) => document.getElementById(id);
export const page = document.body.dataset;

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Ask the server; the answer is JSON or null. Throws Refused with the server's own words. */
export async function ask(method, url, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new Refused(0, 0, "The server cannot be reached.");
  }
  if (response.status === 401) {
    // The session has ended: the server shows the sign-in in this page's place.
    location.reload();
    throw new Refused(401, 20003, "Sign in again.");
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.code, answer.message ?? `The server answered ${response.status}.`);
  return answer;
}

/** Run one call at a time; calls meanwhile become one more run afterwards. */
export function oneAtATime(run) {
  let running = false;
  let wanted = false;
  return async function start() {
    if (running) {
      wanted = true;
      return;
    }
    running = true;
    try {
      await run();
    } finally {
      running = false;
    }
    if (wanted) {
      wanted = false;
      await start();
    }
  };
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DAY_AND_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const formatted = {
  time: (at) => CLOCK.format(at),
  minute: (at) => MINUTE.format(at),
  day: (at) => DAY.format(at),
  full: (at) => `${DAY_AND_YEAR.format(at)}, ${CLOCK.format(at)}`,
};

/** The server's clock, which a sandbox may have moved ahead of this machine's. */
export const clock = { ahead_ms: 0 };
export const isToday = (at) => formatted.day(at) === formatted.day(new Date(Date.now() + clock.ahead_ms));

/** Show a time short, and in full on hovering. */
export function timeOf(text, format = formatted.time) {
  const at = new Date(text);
  return el("time", { datetime: text, title: `${formatted.full(at)} (${text})` }, format(at));
}

/** Show a span of milliseconds as a person would say it. */
export function span(ms) {
  if (ms < 1) return "at once";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const minutes = Math.round(ms / 60_000);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

const TONES = {
  delivered: "good", read: "good", received: "info", sent: "info", sending: "wait", queued: "wait", accepted: "wait",
  scheduled: "wait", undelivered: "bad", failed: "bad", canceled: "mute",
};

export const toneOf = (status) => TONES[status] ?? "mute";

export function badge(status) {
  return el("span", { class: "badge", "data-tone": toneOf(status) }, status);
}

export function toast(text, tone = "good") {
  const box = el("p", { class: "toast", "data-tone": tone }, text);
  byId("toasts").append(box);
  setTimeout(() => box.remove(), 4000);
}

/** Copy a text; without permission for the clipboard API the selection does it. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = el("textarea", { class: "hidden", readonly: true, "aria-hidden": "true" });
    field.value = text;
    // Inside an open dialog nothing outside of it can be selected.
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

/** Copy, and say so on the button that was pressed. */
export async function copyFrom(button, text) {
  if (!(await copy(text))) {
    toast("The browser did not let me copy.", "bad");
    return;
  }
  const use = button.querySelector("use");
  use?.setAttribute("href", "#i-check");
  button.dataset.done = "";
  toast("Copied");
  setTimeout(() => {
    use?.setAttribute("href", "#i-copy");
    delete button.dataset.done;
  }, 1500);
}

export function copyButton(label, text) {
  return el("button", { type: "button", class: "bare", "aria-label": label, title: label, onclick: (event) => copyFrom(event.currentTarget, text) }, icon("copy"));
}

const MEDIA = /^\/media\/(AC[0-9a-f]{32})\/([A-Z]{2}[0-9a-f]{32})\/(ME[0-9a-f]{32})$/;

/** Where this page may load a picture from: itself, whatever public name a link of ours gives the server. */
export function pictureAddress(url) {
  if (url.startsWith("data:image/")) return url;
  try {
    const parsed = new URL(url, location.origin);
    const [, account, message, media] = MEDIA.exec(parsed.pathname) ?? [];
    // Signed links expire, and the clock may have been moved past that; what the page may read anyway does not.
    if (account === page.account) return `/console/v1/messages/${message}/media/${media}`;
    if (account || parsed.origin === location.origin) return parsed.pathname + parsed.search;
  } catch {
    // Not a URL: nothing to show.
  }
  return null;
}

/** Show a picture, or a link where it is none or lies on another server, which would learn that it was looked at. */
export function picture(url, alt) {
  const address = pictureAddress(url);
  const link = () => {
    const isWeb = /^https?:\/\//.test(url);
    return isWeb
      ? el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, "Open the attachment")
      : el("span", { class: "hint" }, "An attachment that is no picture");
  };
  if (address === null) return link();
  const image = el("img", { src: address, alt, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(link()), { once: true });
  return image;
}
