// What a place attends to, as a heat map over the image: from dark violet to bright yellow.

const STOPS = [[12, 8, 38], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

// A canvas with the heat of a grey PNG.
export async function heatOf(png) {
  const bitmap = await createImageBitmap(png, { colorSpaceConversion: "none" });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < image.data.length; at += 4) {
    const heat = image.data[at] / 255;
    image.data.set([...colourOf(heat), 90 + 130 * heat], at);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function colourOf(heat) {
  const at = Math.min(heat * (STOPS.length - 1), STOPS.length - 1.001);
  const [below, part] = [Math.floor(at), at % 1];
  return STOPS[below].map((value, i) => value + part * (STOPS[below + 1][i] - value));
}

// A layer of the stage; `seen` is the part of the image that the heat covers, and what lies outside is darkened.
export function heatMap(heat, [x0, y0, x1, y1]) {
  return ({ width, height, scale }) => (context) => {
    const part = [x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
    context.imageSmoothingQuality = "low"; // linear: finer ones overshoot beside peaks
    context.drawImage(heat, ...part);
    context.beginPath();
    context.rect(0, 0, width, height);
    context.rect(...part);
    context.fillStyle = "rgb(0 0 0 / .6)";
    context.fill("evenodd");
  };
}

// A layer of the stage: the place itself.
export function cross({ x, y }) {
  return ({ scale, unit }) => (context) => {
    const [across, down] = [(x + 0.5) * scale, (y + 0.5) * scale];
    const arms = new Path2D();
    for (const [right, below] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      arms.moveTo(across + 4 * unit * right, down + 4 * unit * below);
      arms.lineTo(across + 14 * unit * right, down + 14 * unit * below);
    }
    for (const [colour, wide] of [["#000", 5], ["#fff", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = wide * unit;
      context.stroke(arms);
    }
  };
}
