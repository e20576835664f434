// Images on their way into the page: chosen, dropped or pasted.

// Calls `take(files)`, and `refuse(words)` for what is no file.
export function takeIncoming(inputs, take, refuse) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) take(files);
  });
  takeDropped(take, refuse);
}

function takeDropped(take, refuse) {
  const hasFiles = (event) => event.dataTransfer.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dragged-over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragged-over");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dragged-over");
    if (!hasFiles(event)) return;
    event.preventDefault();
    const dropped = [...event.dataTransfer.items].filter(({ kind }) => kind === "file");
    const folders = dropped.map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
    if (folders.length) refuse(`${folders[0].name} is a folder: open it, and drop the images in it`);
    const names = new Set(folders.map(({ name }) => name));
    const files = dropped.map((item) => item.getAsFile()).filter((file) => file && !names.has(file.name));
    if (files.length) take(files);
  });
}
