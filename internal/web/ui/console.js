// What a page gains from a script: it stays up to date, and keys work.
"use strict";

// Live pages are asked for again while they are looked at; only what changed
// is replaced, so that nothing flickers and what is open or typed stays.
const main = document.querySelector("main");
const interval = 5000;

async function refresh() {
  if (document.hidden || main.querySelector("details[open] pre, td input:checked") || main.contains(document.activeElement) &&
      /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  const answer = await fetch(location.href, {headers: {Accept: "text/html"}, redirect: "manual"});
  if (answer.type === "opaqueredirect") return location.reload();
  if (!answer.ok) return;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (next) patch(main, next);
}

// patch makes one tree like another, where they differ.
function patch(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || old.childNodes.length !== next.childNodes.length) {
    old.replaceWith(next.cloneNode(true));
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = next.nodeValue;
    return;
  }
  for (const a of [...old.attributes]) if (!next.hasAttribute(a.name)) old.removeAttribute(a.name);
  for (const a of next.attributes) if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
  const children = [...next.childNodes];
  [...old.childNodes].forEach((child, i) => patch(child, children[i]));
}

if (main && main.hasAttribute("data-live")) setInterval(() => refresh().catch(() => {}), interval);

// Keys: g and a letter go to a page, / to the search, j and k along a list, x selects a row.
let going = false;
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) && e.target.type !== "checkbox") {
    if (e.key === "Escape") e.target.blur();
    return;
  }
  if (going) {
    going = false;
    const link = document.querySelector(`nav a[data-key="${CSS.escape(e.key)}"]`);
    if (link) link.click();
    return;
  }
  switch (e.key) {
    case "g": going = true; break;
    case "x": {
      const row = document.activeElement.closest("tr"), box = row && row.querySelector("input[type=checkbox]");
      if (box) { box.checked = !box.checked; countChecked(); }
      break;
    }
    case "/": {
      const search = document.querySelector("input[type=search]");
      if (search) { search.focus(); search.select(); e.preventDefault(); }
      break;
    }
    case "j": case "k": {
      const rows = [...document.querySelectorAll("a.row")];
      const at = rows.indexOf(document.activeElement);
      const to = rows[Math.max(0, Math.min(rows.length - 1, at + (e.key === "j" ? 1 : -1)))];
      if (to) to.focus();
    }
  }
});

// Check boxes of a list: one for all, and how many are checked.
function countChecked() {
  const boxes = [...document.querySelectorAll("td input[type=checkbox]")], checked = boxes.filter((box) => box.checked).length;
  for (const count of document.querySelectorAll("[data-selected]")) count.textContent = checked ? `(${checked})` : "";
  for (const all of document.querySelectorAll("[data-check-all]")) {
    all.checked = checked > 0 && checked === boxes.length;
    all.indeterminate = checked > 0 && checked < boxes.length;
  }
}
document.addEventListener("change", (e) => {
  if (e.target.matches("[data-check-all]"))
    for (const box of document.querySelectorAll("td input[type=checkbox]")) box.checked = e.target.checked;
  if (e.target.type === "checkbox") countChecked();
});
countChecked(); // the browser restores check boxes when it goes back

document.addEventListener("click", (e) => {
  const text = e.target.dataset && e.target.dataset.confirm;
  if (text && !confirm(text)) e.preventDefault();
});
