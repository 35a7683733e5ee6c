// Refreshes a page, and adds the reader's local time. Everything else works without this script.
"use strict";

const page = () => document.querySelector("main");

function addLocalTimes() {
  for (const time of document.querySelectorAll("time")) {
    time.title = `${new Date(time.dateTime).toLocaleString()} (your local time)`;
  }
}

function isBusy() {
  const focused = document.activeElement;
  const isInForm = focused !== null && focused.closest("main form") !== null;
  return document.hidden || isInForm || page().querySelector("input:checked, details[open]") !== null;
}

async function refresh() {
  if (isBusy()) return;
  try {
    const response = await fetch(document.getElementById("refresh").href);
    const text = await response.text();
    const next = new DOMParser().parseFromString(text, "text/html").querySelector("main[data-refresh]");
    if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
    if (next === null) throw new Error("the response is another page; are you still signed in?");
    if (isBusy()) return;
    page().replaceWith(next);
    addLocalTimes();
  } catch (error) {
    clearInterval(timer);
    document.getElementById("refresh-status").textContent = `Stopped: ${error.message}`;
  }
}

addLocalTimes();
const seconds = Number(page().dataset.refresh);
const timer = seconds ? setInterval(refresh, 1000 * seconds) : 0;
