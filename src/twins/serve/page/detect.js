// Detection: boxes over the image, their masks where the network has any, and the same as a table.
import { boxes } from "./draw_boxes.js";
import { runsOf } from "./coco_rle.js";
import { element, swatch } from "./elements.js";
import { counted, many, percent } from "./words.js";

// The least score that the server has is asked for: what is shown is decided here, without another request.
const USUAL = 0.3; // least score that is shown

export const detect = {
  purpose: "to find objects in them",
  values: (model) => ({ conf: model.least_score }),
  level: (model) => ({
    label: "Least score", min: model.least_score, max: 1, step: 0.01, value: Math.max(USUAL, model.least_score),
    words: (value) => percent(value).replace(".0", ""),
  }),

  headline(result, least) {
    const found = shownObjects(result, least);
    return found.length ? `${many(found.length, "object")}: ${counted(found.map(({ name }) => name))}` : "No object";
  },

  // A table of the objects; `pick(object)` makes one stand out, or none if it did already.
  panel(result, least, picked, pick) {
    const found = shownObjects(result, least);
    if (!found.length) return element("p", { class: "soft" }, this.nothing(result, least));
    const rows = found.map((object) => element("tr", {},
      element("th", { scope: "row" }, pickButton(object, result.colours[object.label], object === picked, pick)),
      element("td", {}, percent(object.score)),
      element("td", { class: "soft" }, object.box.map((side) => Math.round(side)).join(", "))));
    const titles = ["Class", "Score", "Box: left, top, right, bottom"];
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Objects" },
      element("table", {},
        element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))),
        element("tbody", {}, ...rows)));
  },

  nothing({ objects: [first] }, least) {
    if (!first) return "Nothing was found in this image.";
    return `Nothing scores more than ${percent(least)}; the highest score is ${percent(first.score)}.`;
  },

  layers: (result, least, picked) => [boxes(shownObjects(result, least), result.colours, picked)],

  // The objects under a pixel, the surest first.
  at(result, least, x, y) {
    const inside = ({ box: [x0, y0, x1, y1] }) => x0 <= x && x < x1 && y0 <= y && y < y1;
    return shownObjects(result, least).filter(inside).map(({ name }) => name).slice(0, 3).join(", ");
  },

  shown: (result, least) => ({ ...result, objects: shownObjects(result, least) }),

  // As `twins predict` writes it: a row an object.
  table(results, least) {
    const rows = results.flatMap((result) => shownObjects(result, least).map(({ name, score, box }) =>
      [result.file, name, score.toFixed(5), ...box.map((side) => side.toFixed(1))]));
    return [["file", "class", "score", "x0", "y0", "x1", "y1"], ...rows];
  },

  // COCO's fields of the regions in an image.
  async regions(result, least) {
    return shownObjects(result, least).map(({ label, score, box: [x0, y0, x1, y1], mask }) => ({
      label, score, bbox: [x0, y0, x1 - x0, y1 - y0],
      area: mask ? runsOf(mask.counts).filter((_, i) => i % 2).reduce((a, b) => a + b, 0) : (x1 - x0) * (y1 - y0),
      ...(mask ? { segmentation: mask } : {}),
    }));
  },
};

const shownObjects = ({ objects }, least) => objects.filter(({ score }) => score >= least);

function pickButton(object, colour, pressed, pick) {
  const button = element("button", { type: "button", class: "pick", "aria-pressed": String(pressed) },
    swatch(colour), object.name);
  button.addEventListener("click", () => pick(object));
  return button;
}
