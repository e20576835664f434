// Images as a browser shows them, turned as their EXIF data says.

const LONGEST = 2048; // pixels of a side that is kept for drawing: more than a screen shows

let before = Promise.resolve(); // one at a time, for a large image takes much memory while it is decoded

// A canvas with the image, its longer side at most `longest` pixels; null where the browser cannot read the file.
export function upright(file, longest = LONGEST) {
  const decoded = before.then(() => decode(file, longest));
  before = decoded;
  return decoded;
}

async function decode(file, longest) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null; // TIFF, for instance: the server may well read what the browser cannot show
  }
  const canvas = scaled(bitmap, longest);
  bitmap.close();
  return canvas;
}

// A copy of an image or canvas, no side of which is longer; small ones keep their size.
export function scaled(image, longest) {
  const scale = Math.min(1, longest / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}
