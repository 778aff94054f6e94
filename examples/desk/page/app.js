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
const LIVE = {
  connecting: "Connecting…",
  live: "Live",
  waiting: "Live, the server is waiting for its data",
  polling: "Not live: checks every 5 s",
  off: "Not live: check by hand",
};
// The server says something every 15 s; when nothing has come for so long, the connection is dead.
const SILENT_MILLISECONDS = 40000;
const LONGEST_PAUSE_MILLISECONDS = 30000;
// Why the server ends a stream whose ticket can't be looked at again: each minute, and a new ticket is all it takes.
const LIVED_LONG_ENOUGH = 4410;

const $ = (selector, within = document) => within.querySelector(selector);
const clone = (template) => $(template).content.firstElementChild.cloneNode(true);
const panel = (model) => $(`.model[data-model=${model}]`);

/** What one sign-in knows. A new one is made for each, so that nothing of one user is ever shown to the next. */
let session = null;

function newSession(token, account) {
  const counts = { requests: 0, notModified: 0, untouched: 0 };
  // `tokens` are those of the lists that are shown, `seen` the newest in any answer, `told` those pushed and not fetched.
  return { token, account, tag: null, tokens: {}, seen: {}, told: {}, held: new Map(), hangUp: () => {}, ...counts };
}

const path = (of, rest) => `/api/v1/accounts/${of.account}/${rest}`;
const field = (strings) => Object.entries(strings).map(([key, value]) => `${key}="${value}"`).join(", ");

// ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Send a request; resolve to its body as data. A 304 resolves to what was held, an error rejects with its detail. */
async function request(of, method, url, body) {
  const headers = { Authorization: `Bearer ${of.token}` };
  const held = method === "GET" ? of.held.get(url) : undefined;
  if (held) headers["If-None-Match"] = held.etag;
  // Shown the newest tokens that this page has seen, no worker answers from older ones: one's own write is seen at once.
  const newest = { ...of.seen };
  for (const [model, token] of Object.entries(of.told)) if (token > (newest[model] ?? "")) newest[model] = token;
  if (Object.keys(newest).length) headers["Cache-Keys"] = field(newest);
  if (body) headers["Content-Type"] = "application/json";
  const started = performance.now();
  const response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store" }).catch(() => {
    throw new Error("The server does not answer.");
  });
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
    const { cache_keys: tokens, tag } = await request(of, "GET", path(of, "cache_keys"));
    adopt(of, tag);
    return tokens;
  } catch (error) {
    if (error.status === 503) return {};
    throw error;
  }
}

/** Take over the tag; with another one, all that is held counts as stale. */
function adopt(of, tag) {
  if (of.tag !== tag) Object.assign(of, { tag, tokens: {} });
}

/** Ask for the tokens, then for the lists of `models`: by default those whose token changed. */
async function revalidate(of, models) {
  const tokens = await currentTokens(of);
  if (of !== session) return;
  const changed = MODELS.filter((model) => !tokens[model] || tokens[model] !== of.tokens[model]);
  const known = Object.keys(of.tokens).length > 0;
  for (const model of MODELS) show(model, tokens[model] ?? "unknown: the store is away", known && changed.includes(model));
  for (const model of models ?? changed) {
    await fetchList(of, model);
    if (of !== session) return;
  }
  of.tokens = tokens;
}

/** Fetch the lists whose token was pushed and is not that of what is shown; each answer names its own. */
async function fetchTold(of) {
  const told = { ...of.told };
  const changed = MODELS.filter((model) => told[model] && told[model] !== of.tokens[model]);
  if (changed.length) for (const model of MODELS) panel(model).classList.remove("changed");
  for (const model of changed) {
    await fetchList(of, model);
    if (of !== session) return;
    of.tokens[model] = of.seen[model];
    show(model, of.tokens[model], true);
  }
  for (const model of MODELS) if (of.told[model] === told[model]) delete of.told[model];
}

async function fetchList(of, model) {
  const data = await request(of, "GET", path(of, LISTS[model]));
  if (of === session) render(of, model, data.payload ?? data);
}

function show(model, token, isChanged) {
  $(`[data-testid=token-${model}]`).textContent = token;
  panel(model).classList.toggle("changed", isChanged);
}

let queue = Promise.resolve();

/** Run one thing after the other, as long as the session lasts, and say what went wrong. */
function run(task, of = session) {
  queue = queue.then(async () => {
    if (of !== session) return;
    try {
      await task(of);
      if (task !== fetchTold) say(""); // What comes by itself does not wipe out what was said of somebody's own doing.
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

// ── Live ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Be told of changes for as long as the session lasts; while that can't be had, check every now and then. */
async function follow(of) {
  let failures = 0;
  while (of === session) {
    const ticket = await ticketOf(of);
    if (ticket === null) return showLive(of, "off");
    const end = ticket ? await listen(of, ticket) : "failed";
    if (end === "renewed") continue;
    failures = end === "lost" ? 1 : failures + 1;
    showLive(of, failures < 3 ? "connecting" : "polling");
    // Not all pages at once: they may all have lost the same server.
    const pause = Math.min(500 * 2 ** failures, LONGEST_PAUSE_MILLISECONDS) * (0.5 + Math.random() / 2);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Ask for a ticket, which stands for the Authorization that an EventSource can't send; null: there is none for us. */
async function ticketOf(of) {
  try {
    const headers = { Authorization: `Bearer ${of.token}` };
    const response = await fetch(path(of, "cache_keys/ticket"), { method: "POST", headers });
    if (response.ok) return (await response.json()).ticket;
    return response.status < 500 && response.status !== 429 ? null : undefined;
  } catch {
    return undefined; // The server is away.
  }
}

/** Listen until the stream ends; resolve to "failed" if it never began, "lost", or "renewed" if it is only to begin anew. */
function listen(of, ticket) {
  if (of !== session) return "failed";
  const known = field({ ...(of.tag && { "*tag": of.tag }), ...of.tokens });
  const stream = new EventSource(`${path(of, "cache_keys/events")}?${new URLSearchParams({ ticket, known })}`);
  return new Promise((resolve) => {
    let end = "failed";
    let silence;
    of.hangUp = () => {
      clearTimeout(silence);
      stream.close();
      resolve(end);
    };
    const hear = (state) => {
      clearTimeout(silence);
      silence = setTimeout(of.hangUp, SILENT_MILLISECONDS);
      if (state) showLive(of, state);
    };
    hear();
    stream.addEventListener("account.cache_invalidated", (event) => {
      end = "lost";
      hear("live");
      take(of, JSON.parse(event.data));
    });
    stream.addEventListener("heartbeat", (event) => {
      hear(JSON.parse(event.data).live ? "live" : "waiting");
      if (Object.keys(of.told).length) run(fetchTold, of); // what could not be fetched when it was told
    });
    // An EventSource would come again by itself, but with the ticket of this time.
    stream.addEventListener("error", of.hangUp);
    stream.addEventListener("closed", (event) => {
      if (end === "lost" && JSON.parse(event.data).code === LIVED_LONG_ENOUGH) end = "renewed";
      of.hangUp();
    });
  });
}

/** Take in what was told, and fetch it at some moment within `jitter_ms`, so that not all pages ask at the same one. */
function take(of, { cache_keys: tokens, tag, jitter_ms: jitter }) {
  adopt(of, tag);
  Object.assign(of.told, tokens);
  setTimeout(() => run(fetchTold, of), jitter * Math.random());
}

function showLive(of, state) {
  if (of !== session || of.live === state) return;
  clearInterval(of.polling);
  if (of.live === "polling") say("");
  if (state === "polling") of.polling = setInterval(() => run(revalidate, of), CHECK_MILLISECONDS);
  of.live = state;
  $("#live").dataset.state = state;
  $("#live").textContent = LIVE[state];
}

function leave(of) {
  clearInterval(of.polling);
  of.hangUp();
}

// ── Records ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function render(of, model, records) {
  const list = $("ul", panel(model));
  const before = new Map([...list.children].map((item) => [item.dataset.id, item]));
  const focused = document.activeElement;
  const rows = records.map((record) => row(of, model, record));
  list.replaceChildren(...rows);
  for (const item of rows) if (before.has(item.dataset.id)) handOn(before.get(item.dataset.id), item, focused);
}

/** Leave a row's successor what somebody is typing: an update that comes by itself must not take it away. */
function handOn(old, item, focused) {
  for (const input of old.querySelectorAll("input")) {
    const heir = $(`[name=${input.name}]`, item);
    if (input.value !== input.defaultValue) {
      heir.value = input.value;
      heir.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if (input !== focused) continue;
    heir.focus();
    if (heir.type === "text") heir.setSelectionRange(input.selectionStart, input.selectionEnd);
  }
}

function row(of, model, record) {
  const item = clone(`#${model}-row`);
  const form = $("form", item);
  const rest = `${LISTS[model]}/${record.id}`;
  item.dataset.id = record.id;
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
  if (session) leave(session);
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
  if (!token) return;
  const of = session;
  showLive(of, "connecting");
  check().then(() => follow(of));
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
