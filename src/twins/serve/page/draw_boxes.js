// Boxes with their classes and scores, and the masks of objects.
import { eachSet } from "./coco_rle.js";

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const FAINT = 0.25; // of what is not the object that was picked

// A layer of the stage; `picked` is the one object to stand out, or null.
export function boxes(objects, colours, picked) {
  return (view) => (context) => {
    const strength = (object) => (picked === null || object === picked ? 1 : FAINT);
    const falling = [...objects].reverse(); // the surest last, on top of the others
    for (const object of falling) {
      context.globalAlpha = strength(object);
      if (object.mask) drawObjectMask(context, object, colours[object.label], view);
    }
    for (const object of falling) {
      context.globalAlpha = strength(object);
      drawBox(context, object, colours[object.label], view);
    }
    for (const object of falling) {
      context.globalAlpha = strength(object);
      drawLabel(context, object, colours[object.label], view);
    }
  };
}

const css = ([red, green, blue]) => `rgb(${red}, ${green}, ${blue})`;

// Black or white, whichever is read better on a colour.
function inkOn(colour) {
  const [red, green, blue] = colour.map((value) => (value / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000" : "#fff";
}

function drawBox(context, { box: [x0, y0, x1, y1] }, colour, { scale, unit }) {
  const sides = [x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
  context.lineJoin = "round";
  context.strokeStyle = "rgb(0 0 0 / .45)"; // a rim, for boxes of the image's own colour
  context.lineWidth = 4 * unit;
  context.strokeRect(...sides);
  context.strokeStyle = css(colour);
  context.lineWidth = 2 * unit;
  context.strokeRect(...sides);
}

function drawLabel(context, { name, score, box: [x0, y0] }, colour, { width, scale, unit }) {
  const high = 18 * unit;
  context.font = `600 ${12 * unit}px ${FONT}`;
  const text = `${shortened(name)} ${Math.round(100 * score)}`;
  const wide = context.measureText(text).width + 8 * unit;
  const left = Math.max(0, Math.min(x0 * scale - unit, width - wide));
  const top = y0 * scale >= high ? y0 * scale - high : Math.max(0, y0 * scale);
  context.fillStyle = css(colour);
  context.fillRect(left, top, wide, high);
  context.fillStyle = inkOn(colour);
  context.textBaseline = "middle";
  context.fillText(text, left + 4 * unit, top + high / 2 + unit / 2);
}

const shortened = (name) => (name.length > 24 ? `${name.slice(0, 23)}…` : name);

const tinted = new WeakMap(); // of an object: its mask as last drawn

function drawObjectMask(context, object, colour, view) {
  let made = tinted.get(object);
  if (made?.width !== view.width) {
    made = { width: view.width, ...tint(object, colour, view) };
    tinted.set(object, made);
  }
  if (made.canvas) context.drawImage(made.canvas, made.left, made.top);
}

function tint({ mask, box }, [red, green, blue], { width, height, scale }) {
  const [left, top] = [box[0], box[1]].map((at) => Math.max(0, Math.floor((at - 1) * scale)));
  const right = Math.min(width, Math.ceil((box[2] + 1) * scale));
  const bottom = Math.min(height, Math.ceil((box[3] + 1) * scale));
  if (right <= left || bottom <= top) return { canvas: null };
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [right - left, bottom - top];
  const image = new ImageData(canvas.width, canvas.height);
  eachSet(mask, scale, { left, top, right, bottom }, (column, row) => {
    image.data.set([red, green, blue, 115], 4 * ((row - top) * canvas.width + column - left));
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return { canvas, left, top };
}
