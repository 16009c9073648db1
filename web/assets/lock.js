// Locks the screen of somebody who went away. The page is taken out of the document and kept in memory, so that
// unlocking brings it back with everything that was typed. Without this script the session ends by itself.
"use strict";
{
  const after = Number(document.body.dataset.lockAfter) * 1000;
  const WARNING = 60000;
  const TELL = 60000;
  const channel = new BroadcastChannel("orderly");
  let used = Date.now();
  let told = Date.now();
  let kept = null;
  let warning = null;

  const key = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const form = (fields) => new URLSearchParams(fields);
  const send = (path, fields) => fetch(path, { method: "POST", body: form(fields), redirect: "manual" });

  function active() {
    if (kept) return;
    used = Date.now();
    channel.postMessage("used");
    stay();
    // A long form must not end the session.
    if (used - told > TELL) {
      told = used;
      fetch("/here").catch(() => {});
    }
  }

  function warn() {
    if (warning) return;
    warning = document.createElement("div");
    warning.className = "lock-warning";
    warning.setAttribute("role", "alert");
    warning.textContent = "This screen locks in a minute. Move, type or click to stay.";
    document.body.append(warning);
  }

  function stay() {
    warning?.remove();
    warning = null;
  }

  async function lock(first) {
    if (kept) return;
    stay();
    const title = document.title;
    kept = { title, nodes: [...document.body.childNodes], scroll: scrollY, focus: document.activeElement };
    document.documentElement.setAttribute("data-locked", "");
    document.body.replaceChildren();
    document.title = "Locked · Orderly";
    try {
      if (first) {
        channel.postMessage("lock");
        await send("/lock", { form_key: key() });
      }
      const answer = await fetch("/lock");
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // Nothing answers: the address asks for the password when it does again.
      const text = document.createElement("p");
      text.className = "lock-warning";
      text.textContent = "Locked. The server does not answer; reload the page to try again.";
      document.body.append(text);
    }
  }

  function show(page) {
    const lock = page.getElementById("lock");
    // No lock to show: the session has ended.
    if (!lock) return location.reload();
    document.body.replaceChildren(...document.importNode(page.body, true).childNodes);
    const unlock = document.querySelector("form[action='/unlock']");
    unlock.addEventListener("submit", async (event) => {
      event.preventDefault();
      const answer = await send("/unlock", { password: unlock.elements.password.value, next: "/" });
      if (answer.type === "opaqueredirect") {
        channel.postMessage("unlock");
        return open();
      }
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    });
    document.getElementById("password").focus();
  }

  function open() {
    if (!kept) return;
    const { title, nodes, scroll, focus } = kept;
    kept = null;
    used = told = Date.now();
    document.body.replaceChildren(...nodes);
    document.title = title;
    document.documentElement.removeAttribute("data-locked");
    scrollTo(0, scroll);
    focus?.focus?.({ preventScroll: true });
  }

  channel.addEventListener("message", ({ data }) => {
    if (data === "used" && !kept) {
      used = Date.now();
      stay();
    }
    if (data === "lock") lock(false);
    if (data === "unlock") open();
  });

  if (after > 0) {
    for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
      let last = 0;
      addEventListener(kind, () => {
        if (Date.now() - last > 1000) active();
        last = Date.now();
      }, { passive: true });
    }
    addEventListener("keydown", (event) => {
      if (event.ctrlKey && event.altKey && event.key.toLowerCase() === "l") {
        event.preventDefault();
        lock(true);
      }
    });
    document.querySelector("form[action='/lock']")?.addEventListener("submit", (event) => {
      event.preventDefault();
      lock(true);
    });
    setInterval(() => {
      const idle = Date.now() - used;
      if (idle >= after) lock(true);
      else if (idle >= after - WARNING) warn();
    }, 1000);
  }
}
