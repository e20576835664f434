// A photo from the camera of this machine.
import { byId } from "./elements.js";
import { byTouch } from "./touch.js";

const WHY = {
  NotAllowedError: "The browser refused the camera. Allow it for this page in the browser's settings.",
  NotFoundError: "No camera was found.",
  NotReadableError: "Another program uses the camera.",
};
const INSECURE = "Browsers give the camera to secure pages only: open this page by https, or on the machine itself as " +
  "localhost. Or take the photo elsewhere and choose it here.";

let photos = 0;

// On phones the button opens the camera's own program, through the file input `capture`; elsewhere a dialog.
export function offerCamera(button, capture, take) {
  const dialog = byId("camera-dialog");
  const video = byId("camera-video");
  button.addEventListener("click", () => {
    if (byTouch()) capture.click();
    else open(dialog, video);
  });
  byId("camera-take").addEventListener("click", async () => {
    const file = await photo(video);
    dialog.close();
    take([file]);
  });
  byId("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  });
}

async function open(dialog, video) {
  const problem = byId("camera-problem");
  problem.hidden = true;
  video.hidden = false;
  byId("camera-take").disabled = true;
  dialog.showModal();
  try {
    if (!navigator.mediaDevices) throw new DOMException(INSECURE, "SecurityError");
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    if (!dialog.open) return stream.getTracks().forEach((track) => track.stop());
    video.srcObject = stream;
    await video.play();
    byId("camera-take").disabled = false;
    byId("camera-take").focus();
  } catch (error) {
    video.hidden = true;
    problem.hidden = false;
    problem.textContent = WHY[error.name] ?? error.message;
  }
}

async function photo(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.92); });
  photos += 1;
  return new File([blob], `photo-${photos}.jpg`, { type: "image/jpeg" });
}
