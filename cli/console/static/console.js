// Without this file the filter is missing, times are UTC, and the dialogs are pages.
const dialog = document.querySelector("dialog");

const format = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };

function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const year = at.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
    time.textContent = at.toLocaleString("en-GB", { ...format, ...year });
  }
}

async function ask(address) {
  if (document.body.ariaBusy) return; // a late answer would replace the form that is open
  stop(); // and so would a reload
  document.body.ariaBusy = "true";
  const text = await fetch(address).then((answer) => answer.text()).catch(() => "");
  const panel = new DOMParser().parseFromString(text, "text/html").querySelector("#panel");
  document.body.ariaBusy = null;
  if (!panel) return location.assign(address);
  localize(panel);
  dialog.replaceChildren(panel);
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog], dialog a[data-cancel]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (dialog.open) dialog.close();
  else ask(link.href);
});

document.addEventListener("submit", (event) => {
  const asks = event.target.matches("[data-dialog]");
  // A second click on a slow page would submit the form twice.
  if (asks || document.body.ariaBusy) event.preventDefault();
  if (asks) ask(`${event.target.action}?${new URLSearchParams(new FormData(event.target))}`);
  else {
    document.body.ariaBusy = "true";
    // Stopping a page load fires no event. No API call takes longer than this.
    setTimeout(() => { document.body.ariaBusy = null; }, 40_000);
  }
});

const filter = document.querySelector("#filter");
const eligible = document.querySelector("#eligible");

function select() {
  const words = filter.value.toLowerCase().split(/\s+/);
  const rows = [...document.querySelectorAll("#rows tr")];
  for (const row of rows) {
    const matches = words.every((word) => row.textContent.toLowerCase().includes(word));
    row.hidden = !matches || (eligible.checked && !("eligible" in row.dataset));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  document.querySelector("#matches").textContent = shown < rows.length ? `${shown} of ` : "";
}

for (const control of filter ? [filter, eligible] : []) control.addEventListener("input", select);

// A page restored from the browser's back/forward cache would stay busy.
addEventListener("pageshow", (event) => event.persisted && location.reload());
localize(document);
if (filter) select();
document.documentElement.classList.add("script");
document.querySelector("#zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
const seconds = document.querySelector("[data-reload]")?.dataset.reload;
let reloaded = 0; // a second reload would cancel one that takes long
let typed = 0; // a reload takes the keyboard's focus back to the top
addEventListener("keydown", () => { typed = Date.now(); });
const isInUse = () => dialog.open || document.hidden || document.body.ariaBusy || Date.now() - typed < 30_000
  || Date.now() - reloaded < 40_000;
if (seconds) setInterval(() => {
  if (isInUse()) return;
  reloaded = Date.now();
  location.reload();
}, seconds * 1000);
