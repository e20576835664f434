// The image that is looked at: drawn with its result, described in words, and asked what a place attends to.
import { askAttention } from "./api.js";
import { cross, heatMap, heatOf } from "./draw_attention.js";
import { byId, element } from "./elements.js";
import { choosePlaces } from "./place.js";
import { Stage } from "./stage.js";
import { upright } from "./upright.js";

const HOW = "Click a place of the image to see what the network attends to from there. With the keyboard: go to the " +
  "image, move the cross with the arrow keys (with Shift by one pixel), press Enter; Escape takes it away.";

export class ImageView {
  // `settings` has the `model`, the `task` and the `level` of its slider, as they are at the moment; `say(words)` tells
  // people who do not see the page.
  constructor(settings, say) {
    this.settings = settings;
    this.say = say;
    this.item = null;
    this.asking = new AbortController();
    this.stage = new Stage(byId("stage"), byId("frame"));
    this.places = choosePlaces(byId("stage"), {
      size: () => this.item?.result ?? null,
      pixelAt: (event) => this.stage.pixelAt(event),
      move: (place) => this.#move(place),
      ask: (place) => this.#ask(place),
    });
    byId("attention-shown").addEventListener("change", () => this.#draw());
  }

  async select(item) {
    this.item = item;
    this.bitmap = null;
    this.forgetResult();
    if (!item) return;
    this.show();
    const bitmap = await upright(item.file);
    if (this.item !== item) return;
    this.bitmap = bitmap;
    this.show();
  }

  // Of another model, or none yet.
  forgetResult() {
    this.picked = null;
    this.place = null;
    this.heat = null;
    this.asking.abort();
    byId("stage").removeAttribute("aria-busy");
    this.places.forget();
    byId("place").textContent = "";
    byId("attention-switch").hidden = true;
  }

  // Everything about the image, once its state has changed.
  show() {
    const { file, result, state, note, problem } = this.item;
    const { model } = this.settings;
    byId("image-name").textContent = file.name;
    byId("image-size").textContent = result ? `${result.width} x ${result.height}` : "";
    this.#showProblem(problem);
    byId("level-control").hidden = byId("attention").hidden = !result;
    byId("stage-keys").textContent = model.can_attend ? HOW : `${model.name} is an exported file, which hides its network.`;
    if (result) this.showResult();
    else this.#showWaiting(state, note);
  }

  // What changes with the slider.
  showResult() {
    const { item, picked } = this;
    const { task, level } = this.settings;
    const headline = task.headline(item.result, level);
    byId("headline").textContent = headline;
    const focused = document.activeElement?.closest("#panel .pick");
    const at = [...byId("panel").querySelectorAll(".pick")].indexOf(focused);
    byId("panel").replaceChildren(task.panel(item.result, level, picked, (choice) => this.#pick(choice)));
    byId("panel").querySelectorAll(".pick")[at]?.focus();
    this.#describeStage(`${item.file.name}: ${headline}`, true);
    this.#draw();
  }

  #showWaiting(state, note) {
    const words = { waiting: "Waiting", sending: "Sent, and waiting for the result", failed: "No result" };
    byId("headline").textContent = words[state];
    const quiet = state === "failed" ? "" : note || (this.bitmap ? "" : "The image is being read.");
    byId("panel").replaceChildren(element("p", { class: "soft" }, quiet));
    this.#describeStage(this.item.file.name, false);
    this.#draw();
  }

  #showProblem(words) {
    byId("image-problem").hidden = !words;
    byId("image-problem").textContent = words ?? "";
  }

  #describeStage(words, hasPlaces) {
    const canvas = byId("stage");
    canvas.setAttribute("role", hasPlaces ? "application" : "img");
    canvas.setAttribute("aria-label", words);
    canvas.tabIndex = hasPlaces ? 0 : -1;
  }

  #draw() {
    const { item, bitmap, picked, place, heat } = this;
    const size = item.result ?? bitmap;
    byId("frame").hidden = !size;
    if (!size) return this.stage.clear();
    const layers = [];
    if (heat && byId("attention-shown").checked) layers.push(heatMap(heat.canvas, heat.seen));
    else if (item.result) layers.push(...this.settings.task.layers(item.result, this.settings.level, picked));
    if (place) layers.push(cross(place));
    return this.stage.show(bitmap, size, layers);
  }

  #pick(choice) {
    this.picked = this.picked === choice ? null : choice;
    byId("attention-shown").checked = false;
    this.showResult();
  }

  async #move(place) {
    this.place = place;
    if (!place) byId("attention-shown").checked = false;
    this.#draw();
    const { task, level } = this.settings;
    const found = place ? await task.at(this.item.result, level, place.x, place.y) : "";
    if (this.place !== place) return;
    byId("place").textContent = place ? `Column ${place.x}, row ${place.y}${found ? `: ${found}` : ""}` : "";
  }

  async #ask(place) {
    const { item } = this;
    const { model } = this.settings;
    if (!model.can_attend) return;
    this.asking.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    this.#showProblem(null);
    byId("stage").setAttribute("aria-busy", "true");
    try {
      const { png, seen } = await askAttention(item.file, model.name, place.x, place.y, signal);
      const canvas = await heatOf(png);
      if (signal.aborted) return;
      this.heat = { canvas, seen };
      byId("attention-switch").hidden = false;
      byId("attention-shown").checked = true;
      this.#draw();
      this.say(`The heat map shows what column ${place.x}, row ${place.y} attends to`);
    } catch (error) {
      if (signal.aborted) return;
      this.#showProblem(error.message);
    } finally {
      if (!signal.aborted) byId("stage").removeAttribute("aria-busy");
    }
  }
}
