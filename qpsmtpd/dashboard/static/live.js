// SPDX-License-Identifier: MIT
// Replaces the part of the page that changes by what the server sends.  Without it, the page is
// as it was when it was loaded.
"use strict";

const part = document.querySelector("[data-live]");
const button = document.querySelector("[data-pause]");
let source = null;

function isInUse() {
  const selection = document.getSelection();
  return part.contains(document.activeElement) ||
    (!selection.isCollapsed && part.contains(selection.anchorNode));
}

function begin() {
  source = new EventSource(part.dataset.live);
  source.onmessage = (event) => {
    if (!isInUse()) {
      part.innerHTML = event.data;
    }
  };
  button.textContent = "Pause";
}

function pause() {
  source.close();
  source = null;
  button.textContent = "Go on";
}

if (part && button && "EventSource" in window) {
  button.hidden = false;
  button.addEventListener("click", () => (source ? pause() : begin()));
  begin();
}
