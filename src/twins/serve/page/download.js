// The results as files.
const json = (value) => JSON.stringify(value, null, 1);

// As the server answers, with what is shown alone, and the error of each image that has no result.
export function asJson(model, task, items, level) {
  const results = items.map(({ file, result, problem }) => {
    if (!result) return { file: file.name, error: problem ?? "not sent yet" };
    const { colours, ...fields } = task.shown(result, level);
    return { ...fields, file: file.name };
  });
  return json({ model: model.name, task: model.task, results });
}

export function asCsv(task, items, level) {
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const rows = task.table(resultsOf(items), level);
  return rows.map((row) => `${row.map((value) => quoted(String(value))).join(",")}\r\n`).join("");
}

// One file that COCO's tools load: its images and categories, and what was found as annotations with scores.
export async function asCoco(model, task, items, level) {
  const results = resultsOf(items);
  const categoryOf = (label) => model.category_ids?.[label] ?? label + 1; // as the data called it, of detectors
  const annotations = [];
  for (const [at, result] of results.entries()) {
    for (const { label, ...region } of await task.regions(result, level)) {
      const ids = { id: annotations.length + 1, image_id: at + 1, category_id: categoryOf(label) };
      annotations.push({ ...ids, iscrowd: 0, ...region });
    }
  }
  return json({
    images: results.map(({ file, width, height }, at) => ({ id: at + 1, file_name: file, width, height })),
    categories: model.classes.map((name, label) => ({ id: categoryOf(label), name })),
    annotations,
  });
}

const resultsOf = (items) =>
  items.filter(({ result }) => result).map(({ file, result }) => ({ ...result, file: file.name }));

export function save(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // once the browser has begun to read it
}
