// The canvas that shows an image and what was found in it, as large as there is room, sharp on any screen.

const ENLARGED = 4; // from here on single pixels of small images are shown as such, not blurred

export class Stage {
  constructor(canvas, frame) {
    this.canvas = canvas;
    this.frame = frame;
    this.turn = 0;
    this.shown = null;
    new ResizeObserver(() => this.draw()).observe(frame);
  }

  // `bitmap` is a canvas or null, `size` the {width, height} in pixels of the image that the layers speak of. A layer
  // is a function of the view {width, height, scale, unit}: canvas pixels, canvas pixels a pixel of the image, and
  // canvas pixels a CSS pixel. It returns, perhaps later, a function that draws on a context.
  show(bitmap, size, layers) {
    this.shown = { bitmap, size, layers };
    return this.draw();
  }

  clear() {
    this.shown = null;
    this.turn += 1;
  }

  async draw() {
    const turn = ++this.turn;
    if (!this.shown || !this.frame.clientWidth) return;
    const { bitmap, size, layers } = this.shown;
    const view = this.#view(size);
    const drawings = await Promise.all(layers.map((layer) => layer(view)));
    if (turn !== this.turn) return; // something newer is being drawn
    this.#fit(view);
    const context = this.canvas.getContext("2d");
    drawBitmap(context, bitmap, view);
    for (const draw of drawings) {
      context.save();
      draw(context);
      context.restore();
    }
    this.canvas.dataset.drawn = turn;
  }

  // The pixel of the image under a pointer.
  pixelAt({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    const { width, height } = this.shown.size;
    const along = (at, start, extent, pixels) => Math.floor(((at - start) / extent) * pixels);
    return {
      x: Math.min(Math.max(along(clientX, box.left, box.width, width), 0), width - 1),
      y: Math.min(Math.max(along(clientY, box.top, box.height, height), 0), height - 1),
    };
  }

  #view(size) {
    const room = { width: this.frame.clientWidth, height: Math.max(240, Math.min(720, 0.7 * window.innerHeight)) };
    const fit = Math.min(room.width / size.width, room.height / size.height);
    const unit = Math.max(1, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(size.width * fit * unit));
    const height = Math.max(1, Math.round(size.height * fit * unit));
    return { width, height, scale: width / size.width, unit };
  }

  #fit({ width, height, unit }) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.canvas.style.width = `${width / unit}px`;
    this.canvas.style.height = `${height / unit}px`;
  }
}

function drawBitmap(context, bitmap, { width, height, scale }) {
  if (!bitmap) {
    context.fillStyle = "#8a8a90";
    context.fillRect(0, 0, width, height);
    return;
  }
  context.imageSmoothingEnabled = scale < ENLARGED;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  context.imageSmoothingEnabled = true;
}
