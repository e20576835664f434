// The region of each class in a mask of class indices, in COCO's words.
import { textOf } from "./coco_rle.js";
import { classesOf } from "./index_mask.js";

const COLUMNS = 128; // read at once: a canvas has four bytes for each pixel, and masks may be large

// [{label, bbox, area, segmentation}], by label.
export function regionsOf(bitmap) {
  const { width, height } = bitmap;
  const found = new Map();
  eachRun(bitmap, (label, start, end) => {
    if (!found.has(label)) found.set(label, new Region());
    found.get(label).add(start, end, height);
  });
  const labels = [...found.keys()].sort((a, b) => a - b);
  return labels.map((label) => ({ label, ...found.get(label).inCoco(width, height) }));
}

// Calls `see(label, start, end)` for the runs of a class down a column; pixels count down the columns.
function eachRun(bitmap, see) {
  const { width, height } = bitmap;
  for (let left = 0; left < width; left += COLUMNS) {
    const wide = Math.min(COLUMNS, width - left);
    const classes = classesOf(bitmap, { left, top: 0, width: wide, height }, wide, height);
    for (let x = 0; x < wide; x += 1) {
      const first = (left + x) * height;
      for (let row = 0, start = 0; row < height; row += 1) {
        const label = classes[row * wide + x];
        if (row + 1 < height && classes[(row + 1) * wide + x] === label) continue;
        see(label, first + start, first + row + 1);
        start = row + 1;
      }
    }
  }
}

class Region {
  constructor() {
    this.runs = []; // of other pixels, of its own, of others ...
    this.end = 0;
    this.area = 0;
    [this.left, this.top, this.right, this.bottom] = [Infinity, Infinity, 0, 0];
  }

  add(start, end, height) {
    if (start === this.end && this.runs.length) this.runs[this.runs.length - 1] += end - start;
    else this.runs.push(start - this.end, end - start);
    this.end = end;
    this.area += end - start;
    const [column, row] = [Math.floor(start / height), start % height];
    this.left = Math.min(this.left, column);
    this.right = Math.max(this.right, column + 1);
    this.top = Math.min(this.top, row);
    this.bottom = Math.max(this.bottom, row + end - start);
  }

  inCoco(width, height) {
    const rest = width * height - this.end;
    return {
      bbox: [this.left, this.top, this.right - this.left, this.bottom - this.top],
      area: this.area,
      segmentation: { size: [height, width], counts: textOf(rest ? [...this.runs, rest] : this.runs) },
    };
  }
}
