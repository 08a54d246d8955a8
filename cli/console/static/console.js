// Without this file the filter is missing, times are UTC, and the dialogs are pages.
const dialog = document.querySelector("dialog");

const format = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };

function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString("en-GB", format);
  }
}

async function ask(address) {
  const answer = await fetch(address).catch(() => null);
  const text = (await answer?.text()) ?? "";
  const panel = new DOMParser().parseFromString(text, "text/html").querySelector("#panel");
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
  // A second click on a slow page would do the thing twice.
  if (asks || document.body.ariaBusy) event.preventDefault();
  if (asks) ask(`${event.target.action}?${new URLSearchParams(new FormData(event.target))}`);
  else {
    document.body.ariaBusy = "true";
    // A browser says nothing of a page that was stopped. No call of the API takes longer than this.
    setTimeout(() => { document.body.ariaBusy = null; }, 40_000);
  }
});

document.querySelector("#filter")?.addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const row of document.querySelectorAll("#rows tr")) {
    row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  }
});

// A page that the browser had kept would stay busy.
addEventListener("pageshow", (event) => event.persisted && location.reload());
localize(document);
document.documentElement.classList.add("script");
document.querySelector("#zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
const seconds = document.querySelector("[data-reload]")?.dataset.reload;
if (seconds) setInterval(() => dialog.open || document.body.ariaBusy || location.reload(), seconds * 1000);
