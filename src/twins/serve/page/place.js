// A place on the image: pointed at, or moved with the arrow keys.

const STEP = 1 / 40; // of the longer side
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// `size()` is that of the image, `move(place)` is told where the cross is now, or null, and `ask(place)` what was
// clicked or entered.
export function choosePlaces(canvas, { size, pixelAt, move, ask }) {
  let place = null;

  const moved = (to) => {
    place = to;
    move(place);
  };
  canvas.addEventListener("click", (event) => {
    if (!size()) return;
    moved(pixelAt(event));
    ask(place);
  });
  canvas.addEventListener("keydown", (event) => {
    const image = size();
    if (!image || event.ctrlKey || event.metaKey || event.altKey) return;
    if (ARROWS[event.key]) moved(step(place ?? middle(image), event, image));
    else if (event.key === "Enter" || event.key === " ") {
      if (!place) moved(middle(image));
      ask(place);
    } else if (event.key === "Escape") moved(null);
    else return;
    event.preventDefault();
  });
  return { forget: () => { place = null; } };
}

const middle = ({ width, height }) => ({ x: Math.floor(width / 2), y: Math.floor(height / 2) });

function step({ x, y }, { key, shiftKey }, { width, height }) {
  const pixels = shiftKey ? 1 : Math.max(1, Math.round(STEP * Math.max(width, height)));
  const within = (at, most) => Math.min(Math.max(at, 0), most - 1);
  return { x: within(x + pixels * ARROWS[key][0], width), y: within(y + pixels * ARROWS[key][1], height) };
}
