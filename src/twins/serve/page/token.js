// The token of a server that wants one: asked for once, and kept for this tab only.
import { byId } from "./elements.js";

const KEY = "twins-token";
let asking = null;

export const token = () => sessionStorage.getItem(KEY);

// Resolves to whether there is another token than the one that was refused; requests that fail together ask once.
export function askForToken(refused, detail) {
  if (token() !== refused) return Promise.resolve(true);
  asking ??= ask(refused === null ? "" : detail).finally(() => { asking = null; });
  return asking;
}

function ask(why) {
  const dialog = byId("token-dialog");
  byId("token-problem").textContent = why;
  byId("token").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "use";
      if (given) sessionStorage.setItem(KEY, byId("token").value.trim());
      resolve(given);
    }, { once: true });
  });
}
