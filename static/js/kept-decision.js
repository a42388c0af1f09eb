// What was sent without a network is kept on this device, and offered again; a password is not.
const PREFIX = "holdfast:kept:";
const user = document.body.dataset.user;
const notices = document.getElementById("notices");

const token = () => document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];

// Somebody who has signed in again in another tab has another token there.
document.addEventListener("htmx:config:request", ({ detail }) => {
  const { request } = detail.ctx;
  if (!token() || !request.body?.set || request.method === "GET") return;
  request.headers["x-csrftoken"] = token();
  if (request.body.has("csrfmiddlewaretoken")) request.body.set("csrfmiddlewaretoken", token());
});

function offer() {
  for (const key of Object.keys(localStorage).filter((one) => one.startsWith(PREFIX))) {
    const kept = JSON.parse(localStorage.getItem(key));
    if (kept.user !== user || document.querySelector(`[data-kept="${CSS.escape(key)}"]`)) continue;
    const notice = document.createElement("p");
    notice.className = "notice";
    notice.dataset.kept = key;
    notice.append(`Not sent, there was no network: “${kept.words}” for ${kept.title}. It is kept here. `);
    const again = Object.assign(document.createElement("button"), { className: "button", type: "button", textContent: "Send it now" });
    again.addEventListener("click", () => send(key, kept));
    const drop = Object.assign(document.createElement("button"), { className: "button", type: "button", textContent: "Forget it" });
    drop.dataset.kind = "quiet";
    drop.addEventListener("click", () => { localStorage.removeItem(key); notice.remove(); });
    notice.append(again, " ", drop);
    notices.append(notice);
  }
}

async function send(key, kept) {
  if (!(await fetch(location.href, { method: "HEAD" }).catch(() => null))) return; // still none: it stays
  const form = Object.assign(document.createElement("form"), { method: "post", action: kept.action, hidden: true });
  for (const [name, value] of [...kept.body, ["csrfmiddlewaretoken", token() ?? ""]]) {
    form.append(Object.assign(document.createElement("textarea"), { name, value }));
  }
  localStorage.removeItem(key);
  document.body.append(form);
  form.submit();
}

document.addEventListener("htmx:error", ({ detail }) => {
  const form = detail.ctx?.sourceElement;
  if (!form?.matches?.("form[data-keep]") || detail.ctx.response) return;
  const body = [...detail.ctx.request.body].filter(([name]) => name !== "password" && name !== "csrfmiddlewaretoken");
  const words = detail.ctx.request.submitter?.textContent.trim() ?? "what you wrote";
  const kept = { user, action: detail.ctx.request.action, body, words, title: form.dataset.keep };
  localStorage.setItem(PREFIX + kept.action, JSON.stringify(kept));
  offer();
});
offer();
