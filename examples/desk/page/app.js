// The desk's browser side: it revalidates by hand, so that you can watch it. What it holds, it holds in memory, and it
// goes past the browser's HTTP cache, which would answer a 304 to a script as if it were a 200.

const USERS = [
  { id: 1, name: "Ada", accounts: [1] },
  { id: 2, name: "Bo", accounts: [2] },
  { id: 3, name: "Cleo", accounts: [1, 2] },
];
const WHO = { "demo-agent-1": "Ada", "demo-agent-2": "Bo", "demo-admin": "Cleo" };
const LISTS = { label: "labels", inbox: "inboxes", team: "teams" };
const MODELS = Object.keys(LISTS);
const CHECK_MILLISECONDS = 5000;
const LOGGED_REQUESTS = 200;

const $ = (selector, within = document) => within.querySelector(selector);
const clone = (template) => $(template).content.firstElementChild.cloneNode(true);
const panel = (model) => $(`.model[data-model=${model}]`);

/** What one sign-in knows. A new one is made for each, so that nothing of one user is ever shown to the next. */
let session = null;

function newSession(token, account) {
  return { token, account, tokens: {}, seen: {}, held: new Map(), requests: 0, notModified: 0, untouched: 0 };
}

const path = (of, rest) => `/api/v1/accounts/${of.account}/${rest}`;

// ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Send a request; resolve to its body as data. A 304 resolves to what was held, an error rejects with its detail. */
async function request(of, method, url, body) {
  const headers = { Authorization: `Bearer ${of.token}` };
  const held = method === "GET" ? of.held.get(url) : undefined;
  if (held) headers["If-None-Match"] = held.etag;
  // Shown the newest tokens that this page has seen, no worker answers from older ones: one's own write is seen at once.
  const seen = Object.entries(of.seen).map(([model, token]) => `${model}="${token}"`);
  if (seen.length) headers["Cache-Keys"] = seen.join(", ");
  if (body) headers["Content-Type"] = "application/json";
  const started = performance.now();
  const response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
  const received = await response.arrayBuffer();
  logRequest(of, method, url, response, received.byteLength, performance.now() - started);
  for (const [, model, token] of (response.headers.get("Cache-Keys") ?? "").matchAll(/(\w+)="(\d+)"/g)) {
    of.seen[model] = token;
  }
  if (response.status === 304) return held.data;
  const data = received.byteLength ? JSON.parse(new TextDecoder().decode(received)) : null;
  if (!response.ok) {
    const message = `${response.status}: ${data?.detail ?? response.statusText}`;
    throw Object.assign(new Error(message), { status: response.status });
  }
  const etag = response.headers.get("ETag");
  if (method === "GET" && etag) of.held.set(url, { etag, data });
  else of.held.delete(url);
  return data;
}

const serverTiming = (response) => {
  const names = (response.headers.get("Server-Timing") ?? "").split(",").map((part) => part.split(";")[0].trim());
  return { handler: names.includes("handler"), database: names.includes("db") };
};

function logRequest(of, method, url, response, bytes, milliseconds) {
  if (of !== session) return;
  const reached = serverTiming(response);
  const row = clone("#request-row");
  row.dataset.status = response.status;
  $(".method", row).textContent = method;
  $(".path", row).textContent = url;
  $(".status", row).textContent = response.status;
  $(".status", row).dataset.kind = response.status === 304 ? "fresh" : response.ok ? "ok" : "error";
  $(".bytes", row).textContent = `${bytes} B`;
  $(".time", row).textContent = `${milliseconds.toFixed(1)} ms`;
  for (const [part, yes] of Object.entries(reached)) {
    const cell = $(`.${part}`, row);
    cell.textContent = yes ? "reached" : "not reached";
    cell.dataset.reached = yes;
  }
  const rows = $("[data-testid=requests]");
  rows.prepend(row);
  if (rows.children.length > LOGGED_REQUESTS) rows.lastElementChild.remove();
  of.requests += 1;
  of.notModified += response.status === 304;
  of.untouched += response.status === 304 && !reached.handler && !reached.database;
  $("#summary").textContent =
    `${of.notModified} of ${of.requests} answered 304, ${of.untouched} of them without handler or database`;
}

// ── Revalidation ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Ask for the tokens, by model; without their store (503) nobody knows them, and all that is held counts as stale. */
async function currentTokens(of) {
  try {
    return (await request(of, "GET", path(of, "cache_keys"))).cache_keys;
  } catch (error) {
    if (error.status === 503) return {};
    throw error;
  }
}

/** Ask for the tokens, then for the lists of `models`: by default those whose token changed. */
async function revalidate(of, models) {
  const tokens = await currentTokens(of);
  if (of !== session) return;
  const changed = MODELS.filter((model) => !tokens[model] || tokens[model] !== of.tokens[model]);
  const known = Object.keys(of.tokens).length > 0;
  for (const model of MODELS) {
    $(`[data-testid=token-${model}]`).textContent = tokens[model] ?? "unknown: the store is away";
    panel(model).classList.toggle("changed", known && changed.includes(model));
  }
  for (const model of models ?? changed) {
    const data = await request(of, "GET", path(of, LISTS[model]));
    if (of !== session) return;
    render(of, model, data.payload ?? data);
  }
  of.tokens = tokens;
}

let queue = Promise.resolve();

/** Run one thing after the other, and say what went wrong. */
function run(task) {
  const of = session;
  queue = queue.then(async () => {
    if (of !== session) return;
    try {
      await task(of);
      say("");
    } catch (error) {
      if (of === session) say(error.message);
    }
  });
  return queue;
}

function say(text) {
  $("#message").textContent = text;
  $("#message").hidden = !text;
}

const check = () => run((of) => revalidate(of));
const reload = () => run((of) => revalidate(of, MODELS));
const write = (method, rest, body) =>
  run(async (of) => {
    await request(of, method, path(of, rest), body);
    await revalidate(of, MODELS);
  });

// ── Records ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function render(of, model, records) {
  const rows = records.map((record) => row(of, model, record));
  $("ul", panel(model)).replaceChildren(...rows);
}

function row(of, model, record) {
  const item = clone(`#${model}-row`);
  const form = $("form", item);
  const rest = `${LISTS[model]}/${record.id}`;
  for (const input of form.querySelectorAll("input")) {
    input.value = input.defaultValue = record[input.name];
  }
  form.addEventListener("input", () => {
    $(".save", form).hidden = [...form.querySelectorAll("input")].every((input) => input.value === input.defaultValue);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    write("PATCH", rest, Object.fromEntries(new FormData(form)));
  });
  $(".delete", form).setAttribute("aria-label", `Delete ${record.title ?? record.name}`);
  $(".delete", form).addEventListener("click", () => write("DELETE", rest));
  if (model === "inbox") $(".members", item).append(...members(of, record, rest));
  if (model === "team") $(".note", item).textContent = record.description;
  return item;
}

function members(of, inbox, rest) {
  return USERS.filter((user) => user.accounts.includes(of.account)).map((user) => {
    const isMember = inbox.member_ids.includes(user.id);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = user.name;
    button.setAttribute("aria-pressed", isMember);
    button.addEventListener("click", () =>
      write(isMember ? "DELETE" : "POST", `${rest}/members`, { user_ids: [user.id] }),
    );
    return button;
  });
}

// ── Session ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function begin(token, account) {
  session = token ? newSession(token, account) : null;
  for (const model of MODELS) {
    panel(model).classList.remove("changed");
    $("ul", panel(model)).replaceChildren();
    $(`[data-testid=token-${model}]`).textContent = "–";
  }
  $("[data-testid=requests]").replaceChildren();
  $("#summary").textContent = "";
  $("#welcome").hidden = Boolean(token);
  $("#desk").hidden = $("#session").hidden = !token;
  $("#who").textContent = WHO[token] ?? "";
  $("#account").value = account;
  say("");
  if (token) check();
}

for (const button of document.querySelectorAll("#welcome button")) {
  button.addEventListener("click", () => begin(button.dataset.token, Number(button.dataset.account)));
}
$("#account").addEventListener("change", (event) => begin(session.token, Number(event.target.value)));
$("#session").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(null, 1);
});
$("#check").addEventListener("click", check);
$("#reload").addEventListener("click", reload);
for (const form of document.querySelectorAll("form.add")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { model } = form.closest(".model").dataset;
    write("POST", LISTS[model], Object.fromEntries(new FormData(form)));
    form.reset();
  });
}

let timer;
$("#auto").addEventListener("change", (event) => {
  clearInterval(timer);
  if (event.target.checked) timer = setInterval(() => session && check(), CHECK_MILLISECONDS);
});
