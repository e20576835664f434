// Classification: the likeliest classes, as bars.
import { bar, element } from "./elements.js";
import { percent } from "./words.js";

const MOST = 20; // classes that are asked for

export const classify = {
  purpose: "to see what they show",
  values: ({ classes }) => ({ topk: Math.min(MOST, classes.length) }),
  level: ({ classes }) => ({
    label: "Classes shown", min: 1, max: Math.min(MOST, classes.length), step: 1, value: Math.min(5, classes.length),
    words: (value) => `${value} of ${classes.length}`,
  }),

  headline: ({ classes: [first] }) => `${first.name}: ${percent(first.probability)}`,

  panel(result, count) {
    const rows = shownClasses(result, count).map(({ name, probability }) =>
      element("li", {}, element("span", { class: "name" }, name), element("span", {}, percent(probability)),
        bar(probability)));
    return element("ol", { class: "bars", "aria-label": "Classes, the likeliest first" }, ...rows);
  },

  layers: () => [],
  at: () => "",

  // What a download has of a result.
  shown: (result, count) => ({ ...result, classes: shownClasses(result, count) }),

  // As `twins predict` writes it: a row an image.
  table(results, count) {
    const titles = Array.from({ length: count }, (_, i) => [`class${i + 1}`, `probability${i + 1}`]);
    const rows = results.map((result) => [
      result.file,
      ...shownClasses(result, count).flatMap(({ name, probability }) => [name, probability.toFixed(5)]),
    ]);
    return [["file", ...titles.flat()], ...rows];
  },
};

const shownClasses = ({ classes }, count) => classes.slice(0, count);
