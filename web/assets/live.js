// Live parts: whatever is marked `data-live` is fetched again and put in its place when it changed. Without this script
// the page shows what it knew when it was opened, and a link to refresh it.
"use strict";
{
  const PERIOD = 5000;
  const QUIET = 10000;
  let announced = 0;
  let late = 0;

  const regions = () => [...document.querySelectorAll("[data-live][id]")];
  const locked = () => document.documentElement.hasAttribute("data-locked");

  // Focus survives: the same place in the new part is what has the same id, the same address, or the same name.
  function mark(element) {
    if (element.id) return `#${CSS.escape(element.id)}`;
    if (element.tagName === "A") return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
    if (element.tagName === "SUMMARY") return "summary";
    return null;
  }

  function put(region, fresh) {
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    // Somebody writes there: leave it alone until they are done.
    if (focused && focused.matches("input, select, textarea")) return;
    if (region.innerHTML === fresh.innerHTML) return;
    const words = (part) => part.querySelector("[data-announce]")?.textContent.trim() ?? "";
    const [before, after] = [words(region), words(fresh)];
    const back = focused && mark(focused);
    const open = [...region.querySelectorAll("details[open] > summary")].map((summary) => summary.textContent);
    region.replaceChildren(...document.importNode(fresh, true).childNodes);
    for (const summary of region.querySelectorAll("details > summary")) {
      if (open.includes(summary.textContent)) summary.parentElement.open = true;
    }
    if (back) region.querySelector(back)?.focus({ preventScroll: true });
    if (after && after !== before) announce(after);
  }

  function announce(words) {
    const now = Date.now();
    if (now - announced < QUIET) return;
    announced = now;
    const place = document.getElementById("live-status");
    if (place) place.textContent = words;
  }

  // The clock of the page tells the truth: while nothing arrives it says since when.
  function state(working) {
    for (const place of document.querySelectorAll("[data-refresh]")) {
      place.textContent = working ? "Updates by itself." : "Does not update at the moment; refresh the page.";
      place.classList.toggle("late", !working);
    }
  }

  async function refresh() {
    const parts = regions();
    if (!parts.length || document.hidden || locked()) return;
    const sources = new Map();
    for (const part of parts) {
      const source = part.dataset.source ?? location.pathname + location.search;
      sources.set(source, [...(sources.get(source) ?? []), part]);
    }
    for (const [source, wanted] of sources) {
      const answer = await fetch(source, { headers: { "X-Orderly-Refresh": "yes" }, redirect: "manual" });
      if (locked()) return;
      // Signed out or locked meanwhile: what stands here is not for whoever sits here now.
      if (answer.type === "opaqueredirect" || answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of wanted) {
        const found = fresh.getElementById(part.id);
        if (found) put(part, found);
      }
    }
  }

  async function turn() {
    try {
      await refresh();
      late = 0;
    } catch {
      late += 1;
    }
    state(late < 2);
    setTimeout(turn, PERIOD * Math.min(1 + late, 6));
  }

  if (regions().length) {
    state(true);
    setTimeout(turn, PERIOD);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) refresh().catch(() => {});
    });
  }
}
