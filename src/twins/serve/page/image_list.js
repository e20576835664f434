// The list of images: a thumbnail each, with what was found in it or went wrong.
import { element } from "./elements.js";
import { scaled } from "./upright.js";

const SIDE = 144; // pixels of a thumbnail's longer side

export class ImageList {
  constructor(list, select) {
    this.list = list;
    this.select = select;
    this.entries = new Map();
  }

  add(item) {
    const canvas = element("canvas", { width: 1, height: 1, "aria-hidden": "true" });
    const words = element("span", { class: "words" });
    const button = element("button", { type: "button" },
      element("span", { class: "thumbnail" }, canvas), element("span", { class: "name" }, item.file.name), words);
    button.addEventListener("click", () => this.select(item));
    const entry = element("li", {}, button);
    this.entries.set(item, { entry, button, canvas, words });
    this.list.append(entry);
  }

  remove(item) {
    this.entries.get(item).entry.remove();
    this.entries.delete(item);
  }

  // What stands below the name of an image.
  describe(item, words) {
    const { entry, words: place } = this.entries.get(item);
    entry.className = item.state;
    place.textContent = words;
  }

  mark(selected) {
    for (const [item, { button }] of this.entries) {
      if (item === selected) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    this.entries.get(selected)?.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  showThumbnail(item, bitmap) {
    const place = this.entries.get(item);
    if (!place || !bitmap) return;
    const small = scaled(bitmap, SIDE);
    [place.canvas.width, place.canvas.height] = [small.width, small.height];
    place.canvas.getContext("2d").drawImage(small, 0, 0);
  }
}
