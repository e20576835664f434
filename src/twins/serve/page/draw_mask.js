// A segmentation: each pixel in its class's colour, over the image.
import { classesOf, decodeMask } from "./index_mask.js";

const coloured = new WeakMap(); // of a result: its mask as last drawn

// A layer of the stage; `picked` is the one class to show, or null; `opacity` between 0 and 1.
export function mask(result, colours, picked, opacity) {
  return async (view) => {
    let made = coloured.get(result);
    if (made?.width !== view.width || made.picked !== picked) {
      made = { width: view.width, picked, canvas: await colour(result, colours, picked, view) };
      coloured.set(result, made);
    }
    return (context) => {
      context.globalAlpha = opacity;
      context.drawImage(made.canvas, 0, 0);
    };
  };
}

async function colour(result, colours, picked, { width, height }) {
  const bitmap = await decodeMask(result.mask);
  const whole = { left: 0, top: 0, width: bitmap.width, height: bitmap.height };
  const classes = classesOf(bitmap, whole, width, height);
  bitmap.close();
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const values = new Uint32Array(new Uint8Array(colours.flatMap((rgb) => [...rgb, 255])).buffer);
  if (picked !== null) values.fill(0).fill(packed(colours[picked]), picked, picked + 1);
  classes.forEach((label, at) => { pixels[at] = values[label]; });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

const packed = (rgb) => new Uint32Array(new Uint8Array([...rgb, 255]).buffer)[0];
