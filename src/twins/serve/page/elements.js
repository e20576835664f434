// Elements made from text alone: names of classes and files come from outside and are never read as HTML.

export const byId = (id) => document.getElementById(id);

// element("li", { class: "row" }, "text", child): attributes that are null or false are left out.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function swatch([red, green, blue]) {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  made.style.backgroundColor = `rgb(${red}, ${green}, ${blue})`;
  return made;
}

export function bar(share, colour = null) {
  const filled = element("span", {});
  filled.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  if (colour) filled.style.backgroundColor = `rgb(${colour.join(", ")})`;
  return element("span", { class: "bar", "aria-hidden": "true" }, filled);
}
