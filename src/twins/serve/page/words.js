// Numbers as people read them.

export const many = (count, what, plural = `${what}s`) => `${count.toLocaleString("en")} ${count === 1 ? what : plural}`;

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

export const megabytes = (bytes) => `${(bytes / 2 ** 20).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;

// The commonest first: "2 x car, 1 x person".
export function counted(names, most = 4) {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => `${count} x ${name}`);
  const rest = parts.length - most;
  return parts.slice(0, most).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}
