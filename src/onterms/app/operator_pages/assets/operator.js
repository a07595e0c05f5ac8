// What a page without JavaScript would lack: choosing the theme, copying.

const THEMES = ["system", "light", "dark"];
const themeButton = document.getElementById("theme");

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

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without permission, or over plain HTTP, the selection does it.
    const field = document.createElement("textarea");
    field.className = "hidden";
    field.readOnly = true;
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button || !(await copy(button.dataset.copy))) return;
  const use = button.querySelector("use");
  use.setAttribute("href", "#i-check");
  button.dataset.done = "";
  setTimeout(() => {
    use.setAttribute("href", "#i-copy");
    delete button.dataset.done;
  }, 1500);
});

// A second click on a slow answer must not send a form twice.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent !== undefined) {
    event.preventDefault();
    return;
  }
  if (event.target.method === "post") event.target.dataset.sent = "";
});
// A page that comes back from the browser's cache may be sent again.
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});
