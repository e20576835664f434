// COCO's compressed run-length encoding of masks: the lengths of runs down the columns, of zeros first and ones next,
// each as its difference from the one before the last, in groups of five bits with 48 added.

// The lengths of the runs.
export function runsOf(text) {
  const runs = [];
  for (let at = 0; at < text.length; ) {
    let value = 0;
    let shift = 0;
    for (let more = true; more; shift += 5) {
      const bits = text.charCodeAt(at++) - 48;
      value |= (bits & 31) << shift;
      more = (bits & 32) !== 0;
      if (!more && bits & 16 && shift < 27) value |= -1 << (shift + 5);
    }
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

export function textOf(runs) {
  let text = "";
  runs.forEach((run, i) => {
    let value = i > 2 ? run - runs[i - 2] : run;
    for (let more = true; more; ) {
      let bits = value & 31;
      value >>= 5;
      more = value !== (bits & 16 ? -1 : 0);
      if (more) bits |= 32;
      text += String.fromCharCode(bits + 48);
    }
  });
  return text;
}

// Calls `set(column, row)` for the cells of a grid, `scale` of them a pixel of the mask, whose pixel is a one. Looks at
// the cells of `area` alone: {left, top, right, bottom}.
export function eachSet({ size: [height, width], counts }, scale, area, set) {
  const ends = [];
  runsOf(counts).reduce((sum, run) => (ends.push(sum + run), sum + run), 0);
  let run = 0;
  for (let column = area.left; column < area.right; column += 1) {
    const x = Math.min(Math.floor((column + 0.5) / scale), width - 1);
    let start = x * height;
    while (run > 0 && ends[run - 1] > start) run -= 1; // a column that is shown twice begins again
    for (let row = area.top; row < area.bottom; row += 1) {
      start = x * height + Math.min(Math.floor((row + 0.5) / scale), height - 1);
      while (run < ends.length && ends[run] <= start) run += 1;
      if (run % 2) set(column, row);
    }
  }
}
