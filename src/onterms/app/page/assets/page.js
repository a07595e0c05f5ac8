// The page: joins its parts, listens to what happens, shows clock, credentials and alerts.
import { ask, byId, clock, copyFrom, el, formatted, isToday, oneAtATime, page, span, timeOf, toast } from "./common.js";
import { startDetail } from "./detail.js";
import { startHandset } from "./handset.js";
import { startLog } from "./log.js";

const detail = startDetail();
const log = startLog({ openMessage: detail.open });
const handset = page.handset ? startHandset({ openMessage: detail.open }) : null;

// ---- alerts

const alertList = byId("alerts");
const alertsEmpty = byId("alerts-empty");

const refreshAlerts = oneAtATime(async () => {
  let alerts;
  try {
    ({ alerts } = await ask("GET", "/console/v1/alerts"));
  } catch {
    return;
  }
  alertList.setAttribute("aria-busy", "false");
  const signature = alerts.map((alert) => alert.sid).join();
  if (alertList.dataset.signature === signature) return;
  alertList.dataset.signature = signature;
  alertList.hidden = alerts.length === 0;
  alertsEmpty.hidden = alerts.length > 0;
  alertsEmpty.replaceChildren(
    el("strong", {}, "All quiet"),
    el("p", {}, "When a webhook does not answer, or answers what nobody can read, the reason shows up here with its code."),
  );
  alertList.replaceChildren(...alerts.map((alert) => {
    const content = [
      el("span", { class: "alert-top" }, el("b", { class: "code-tag", "data-level": alert.level }, String(alert.code)), el("span", { class: "meaning" }, alert.meaning), timeOf(alert.at, (at) => (isToday(at) ? formatted.minute(at) : formatted.day(at)))),
      alert.text && alert.text !== alert.meaning ? el("span", { class: "sub" }, alert.text) : null,
      alert.request ? el("span", { class: "url" }, el("code", {}, alert.request)) : null,
    ];
    const isMessage = /^(SM|MM)/.test(alert.resource_sid ?? "");
    return el("li", {}, isMessage
      ? el("button", { type: "button", class: "alert", title: "Show the message", onclick: () => detail.open(alert.resource_sid) }, content)
      : el("div", { class: "alert" }, content));
  }));
});

// ---- what happens, live

const liveSign = byId("live");

function showLive(state, words) {
  if (liveSign.dataset.state === state) return;
  liveSign.dataset.state = state;
  liveSign.querySelector(".words").textContent = words;
}

function refreshAll() {
  log.refresh();
  handset?.refresh();
  refreshAlerts();
  detail.refresh();
}

let late, later;
function changed(sids) {
  log.refresh();
  handset?.refresh();
  if (detail.concerns(sids)) detail.refresh();
  // The handset keeps its own messages and shows them once they are settled, which may be a moment after the event;
  // alerts have no event, and on a busy machine they may take a little longer.
  clearTimeout(late);
  late = setTimeout(() => {
    handset?.refresh();
    refreshAlerts();
  }, 400);
  clearTimeout(later);
  later = setTimeout(refreshAlerts, 3000);
}

let retry_ms = 1000;
function listen() {
  const source = new EventSource("/console/v1/events");
  let wasOpen = false;
  source.addEventListener("ready", () => {
    retry_ms = 1000;
    showLive("on", "live");
    // Whatever happened while nobody listened.
    if (wasOpen || missed) refreshAll();
    wasOpen = true;
    missed = false;
  });
  source.addEventListener("changes", (event) => {
    const { events, gap } = JSON.parse(event.data);
    changed(gap ? null : new Set(events.map((one) => one.sid)));
  });
  source.addEventListener("error", () => {
    missed = true;
    // The server ends a stream now and then, and the browser is back before anybody would read a warning.
    if (source.readyState === EventSource.CONNECTING) {
      setTimeout(() => { if (source.readyState !== EventSource.OPEN) showLive("off", "reconnecting"); }, 3000);
      return;
    }
    // Refused: EventSource gives up then, so we ask again, slower each time; meanwhile the page still reads.
    source.close();
    showLive("off", "reconnecting");
    setTimeout(listen, retry_ms);
    retry_ms = Math.min(retry_ms * 2, 15_000);
    refreshAll();
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}
let missed = false;

// A page that comes back from the browser's cache has no stream any more.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// ---- the clock

const clockNow = byId("clock-now");
const shown = { now: 0, seenAt: 0, held: false };

function drawClock() {
  if (!shown.seenAt) return;
  const at = new Date(shown.now + (shown.held ? 0 : performance.now() - shown.seenAt));
  const words = formatted.full(at);
  if (clockNow.textContent !== words) {
    clockNow.textContent = words;
    clockNow.dateTime = at.toISOString();
  }
}

function takeClock(state) {
  shown.now = Date.parse(state.now);
  shown.seenAt = performance.now();
  shown.held = state.held;
  clock.ahead_ms = shown.now - Date.now();
  const offset = byId("clock-offset");
  const ahead = Math.abs(state.offset_s) >= 60;
  offset.hidden = !ahead && !state.held;
  offset.textContent = state.held ? "held" : `${state.offset_s > 0 ? "+" : "−"}${span(Math.abs(state.offset_s) * 1000)}`;
  offset.title = state.held ? "The clock stands still" : "How far the virtual clock is from this machine's";
  drawClock();
}

async function readClock() {
  try {
    takeClock(await ask("GET", "/simulator/v1/clock"));
  } catch {
    // It is read again soon.
  }
}

if (clockNow) {
  for (const button of document.querySelectorAll("[data-advance]")) {
    button.addEventListener("click", async () => {
      const buttons = document.querySelectorAll("[data-advance]");
      for (const each of buttons) each.disabled = true;
      try {
        const state = await ask("POST", "/simulator/v1/clock", { advance_s: Number(button.dataset.advance) });
        takeClock(state);
        toast(state.stopped_by ? "The clock stopped on its way: there is much to do. Press again." : `The clock moved; ${state.jobs} due job${state.jobs === 1 ? "" : "s"} ran.`, state.stopped_by ? "wait" : "good");
        refreshAll();
      } catch (error) {
        toast(error.message, "bad");
      } finally {
        for (const each of buttons) each.disabled = false;
        button.focus();
      }
    });
  }
  readClock();
  setInterval(drawClock, 250);
  setInterval(() => { if (!document.hidden) readClock(); }, 20_000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) readClock(); });
}

// ---- credentials

let tokens = null;
async function token(name) {
  tokens ??= await ask("POST", "/console/v1/credentials", {});
  return tokens[name];
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy], button[data-copy-secret], button[data-show]");
  if (!button) return;
  const { copy, copySecret, show } = button.dataset;
  try {
    if (copy !== undefined) await copyFrom(button, copy);
    else if (copySecret !== undefined) await copyFrom(button, await token(copySecret));
    else {
      const place = document.querySelector(`[data-secret="${show}"]`);
      const isShown = button.getAttribute("aria-pressed") === "true";
      place.textContent = isShown ? "•".repeat(32) : await token(show);
      button.setAttribute("aria-pressed", String(!isShown));
      button.setAttribute("aria-label", button.getAttribute("aria-label").replace(isShown ? "Hide" : "Show", isShown ? "Show" : "Hide"));
    }
  } catch (error) {
    toast(error.message, "bad");
  }
});

byId("sign-out")?.addEventListener("click", async () => {
  try {
    await ask("DELETE", "/console/v1/session");
    location.reload();
  } catch (error) {
    toast(error.message, "bad");
  }
});

// ---- theme

const THEMES = ["system", "light", "dark"];
const themeButton = byId("theme");

function nameTheme() {
  const words = `Theme: ${document.documentElement.dataset.theme ?? "as the system"}`;
  themeButton.setAttribute("aria-label", words);
  themeButton.title = words;
}

themeButton.addEventListener("click", () => {
  const current = document.documentElement.dataset.theme ?? "system";
  const next = THEMES[(THEMES.indexOf(current) + 1) % THEMES.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === "system") localStorage.removeItem("onterms.theme");
    else localStorage.setItem("onterms.theme", next);
  } catch {
    // Without storage the choice lasts until the page is left.
  }
  nameTheme();
});
nameTheme();

refreshAll();
listen();
