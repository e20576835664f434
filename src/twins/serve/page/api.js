// The server's interface. Addresses are relative to the page, so that it may lie behind a proxy's prefix.
import { askForToken, token } from "./token.js";

// An answer that is no result, in the server's own words; `status` is 0 where none came.
export class Problem extends Error {
  constructor(detail, status = 0, retryAfter = null) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter; // seconds
  }
}

export async function askModels() {
  return (await request("models")).json();
}

// The result of one image, and the colours of the classes beside it.
export async function askPrediction(file, model, values, signal) {
  const query = new URLSearchParams({ model, ...values });
  const answer = await (await request(`predict?${query}`, post("images", file, signal))).json();
  const [result] = answer.results;
  if (result.error) throw new Problem(result.error.detail, result.error.status);
  return { ...result, colours: answer.colours };
}

// What the pixel (x, y) attends to: a grey PNG, and the part of the image that it covers.
export async function askAttention(file, model, x, y, signal) {
  const response = await request(`attention?${new URLSearchParams({ model, x, y })}`, post("image", file, signal));
  return { png: await response.blob(), seen: response.headers.get("X-Seen").split(",").map(Number) };
}

function post(field, file, signal) {
  const body = new FormData();
  body.append(field, file, file.name);
  return { method: "POST", body, signal };
}

async function request(path, options = {}) {
  for (;;) {
    const used = token();
    const headers = used === null ? {} : { Authorization: `Bearer ${used}` };
    const response = await answered(path, { ...options, headers });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401 || !(await askForToken(used, problem.message))) throw problem;
  }
}

async function answered(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("No answer: the server cannot be reached, or the file cannot be read");
  }
}

async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After") ?? NaN);
  const detail = await response.json().then((problem) => problem.detail, () => null); // null from a proxy, perhaps
  const words = detail ?? `The server answered ${response.status} ${response.statusText}`;
  return new Problem(words, response.status, Number.isFinite(retryAfter) ? retryAfter : null);
}
