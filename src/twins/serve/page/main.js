// The page: its images, the model that is asked about them, and what is shown of the results.
import { askModels } from "./api.js";
import { offerCamera } from "./camera.js";
import { classify } from "./classify.js";
import { detect } from "./detect.js";
import { asCoco, asCsv, asJson, save } from "./download.js";
import { byId, element } from "./elements.js";
import { ImageList } from "./image_list.js";
import { ImageView } from "./image_view.js";
import { takeIncoming } from "./incoming.js";
import { segment } from "./segment.js";
import { Sending } from "./sending.js";
import { byTouch } from "./touch.js";
import { upright } from "./upright.js";
import { many } from "./words.js";

const TASKS = { classify, detect, segment };

const settings = { model: null, task: null, level: 0 };
const items = []; // {file, state: "waiting" | "sending" | "done" | "failed", note, result, problem}
let models = [];
let limits = null;
let selected = null;

const say = (words) => { byId("status").textContent = words; };
const view = new ImageView(settings, say);
const list = new ImageList(byId("images"), select);
const sending = new Sending(changed);

function add(files) {
  if (!files.length) return;
  const added = files.map((file) => ({ file, ...unsent() }));
  items.push(...added);
  for (const item of added) {
    list.add(item);
    describe(item);
    upright(item.file).then((bitmap) => list.showThumbnail(item, bitmap));
  }
  showWhatThereIs();
  if (!selected || added.length === 1) select(added[0]);
  send();
}

const unsent = () => ({ state: "waiting", note: "", result: null, problem: null });

function send() {
  sending.start(items, settings.model.name, settings.task.values(settings.model), limits);
  showProgress();
}

function select(item) {
  selected = item;
  list.mark(item);
  view.select(item);
}

function changed(item) {
  if (!items.includes(item)) return; // removed while it was on its way
  describe(item);
  if (item === selected) {
    view.show();
    if (item.state === "done") say(`${item.file.name}: ${settings.task.headline(item.result, settings.level)}`);
  }
  showProgress();
}

function describe(item) {
  const words = { waiting: "waiting", sending: item.note || "sending", failed: item.problem };
  list.describe(item, item.result ? settings.task.headline(item.result, settings.level) : words[item.state]);
}

function showProgress() {
  const finished = items.filter(({ state }) => state === "done" || state === "failed").length;
  const failed = items.filter(({ state }) => state === "failed").length;
  byId("sending").hidden = items.length < 2 || finished === items.length;
  byId("progress").max = items.length;
  byId("progress").value = finished;
  byId("progress-words").textContent = `${finished} of ${many(items.length, "image")}`;
  const without = failed ? `${many(failed, "image")} without a result: COCO and CSV leave them out` : "";
  byId("download-words").textContent = finished === items.length ? without : "What has arrived so far";
  for (const button of document.querySelectorAll(".downloads button")) button.disabled = finished === failed;
  if (finished === items.length && finished > 1) say(`${many(finished, "image")} finished, ${failed} without a result`);
}

function showWhatThereIs() {
  byId("work").hidden = !items.length;
  byId("add").classList.toggle("compact", items.length > 0);
  byId("strip").hidden = items.length < 2;
}

function remove(item) {
  const at = items.indexOf(item);
  items.splice(at, 1);
  list.remove(item);
  showWhatThereIs();
  showProgress();
  select(items[Math.min(at, items.length - 1)] ?? null);
  if (!items.length) byId("choose").focus();
  say(`${item.file.name} removed`);
}

function clear() {
  sending.stop();
  for (const item of items.splice(0)) list.remove(item);
  select(null);
  showWhatThereIs();
  byId("choose").focus();
  say("All images removed");
}

function chooseModel(model) {
  sending.stop();
  Object.assign(settings, { model, task: TASKS[model.task] });
  byId("invitation").textContent = `${byTouch() ? "Choose images" : "Drop images here"} ${settings.task.purpose}`;
  byId("model-facts").textContent =
    [model.network, model.computed_by, many(model.classes.length, "class", "classes")].join(" · ");
  byId("download-coco").hidden = !settings.task.regions;
  showSlider(settings.task.level(model));
  view.forgetResult();
  for (const item of items) {
    Object.assign(item, unsent());
    describe(item);
  }
  if (selected) view.show();
  send();
}

function showSlider({ label, words, value, ...range }) {
  settings.level = value;
  byId("level-label").textContent = label;
  Object.assign(byId("level"), { ...range, value });
  const write = () => {
    byId("level-words").textContent = words(settings.level);
    byId("level").setAttribute("aria-valuetext", words(settings.level));
  };
  byId("level").oninput = () => {
    settings.level = Number(byId("level").value);
    write();
    for (const item of items) describe(item);
    if (selected?.result) view.showResult();
  };
  write();
}

function offerModels() {
  byId("model").replaceChildren(...models.map(({ name }) => element("option", { value: name }, name)));
  byId("model").disabled = models.length < 2;
  byId("model").addEventListener("change", () => chooseModel(models[byId("model").selectedIndex]));
  const first = Math.max(0, models.findIndex((model) => model.default));
  byId("model").selectedIndex = first;
  chooseModel(models[first]);
}

function offerDownloads() {
  const name = (suffix) => `${settings.model.name}-results.${suffix}`;
  const offer = (id, make) => byId(id).addEventListener("click", make);
  offer("download-json", () =>
    save(asJson(settings.model, settings.task, items, settings.level), name("json"), "application/json"));
  offer("download-csv", () => save(asCsv(settings.task, items, settings.level), name("csv"), "text/csv"));
  offer("download-coco", async () =>
    save(await asCoco(settings.model, settings.task, items, settings.level), name("coco.json"), "application/json"));
}

function refuse(words) {
  byId("page-problem").textContent = words;
  byId("page-problem").hidden = false;
}

// Resolves to whether there are models to ask.
async function open() {
  try {
    ({ models, limits } = await askModels());
  } catch (error) {
    refuse(error.message);
    return false;
  }
  offerModels();
  offerDownloads();
  return true;
}

function start() {
  const opened = open();
  const take = async (files) => {
    if (!(await opened)) return; // what is chosen early waits, and why nothing can be asked is shown
    byId("page-problem").hidden = true;
    add(files);
  };
  takeIncoming([byId("choose"), byId("capture")], take, refuse);
  offerCamera(byId("camera"), byId("capture"), take);
  byId("remove").addEventListener("click", () => remove(selected));
  byId("clear").addEventListener("click", clear);
}

start();
