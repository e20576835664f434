// Segmentation: the mask over the image, and a legend with each class's share of the pixels.
import { bar, element, swatch } from "./elements.js";
import { mask } from "./draw_mask.js";
import { classesOf, decodeMask } from "./index_mask.js";
import { regionsOf } from "./mask_regions.js";
import { percent } from "./words.js";

export const segment = {
  purpose: "to see what each part of them is",
  values: () => ({}),
  level: () => ({
    label: "Opacity of the mask", min: 0, max: 1, step: 0.01, value: 0.6,
    words: (value) => percent(value).replace(".0", ""),
  }),

  headline: ({ pixels }) => pixels.slice(0, 3).map(({ name, share }) => `${name}: ${percent(share)}`).join(", "),

  // A legend; `pick(label)` shows one class alone, or all again.
  panel(result, opacity, picked, pick) {
    const rows = result.pixels.map(({ label, name, share }) => {
      const button = element("button", { type: "button", class: "pick", "aria-pressed": String(label === picked) },
        swatch(result.colours[label]), element("span", { class: "name" }, name));
      button.addEventListener("click", () => pick(label));
      return element("li", {}, button, element("span", {}, percent(share)), bar(share, result.colours[label]));
    });
    return element("ul", { class: "bars", "aria-label": "Classes and their share of the pixels" }, ...rows);
  },

  layers: (result, opacity, picked) => [mask(result, result.colours, picked, opacity)],

  // The class of a pixel.
  async at(result, opacity, x, y) {
    const bitmap = await decodeMask(result.mask);
    const [label] = classesOf(bitmap, { left: x, top: y, width: 1, height: 1 }, 1, 1);
    bitmap.close();
    return result.pixels.find((one) => one.label === label)?.name ?? "";
  },

  shown: (result) => result,

  table(results) {
    const rows = results.flatMap(({ file, pixels }) => pixels.map(({ name, share }) => [file, name, share.toFixed(5)]));
    return [["file", "class", "share"], ...rows];
  },

  // As in COCO's results for stuff: a region a class.
  async regions(result) {
    const bitmap = await decodeMask(result.mask);
    const regions = regionsOf(bitmap);
    bitmap.close();
    return regions;
  },
};
