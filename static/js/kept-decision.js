// What was sent without a network is kept on this device, and offered again; a password is not.
const PREFIX = "holdfast:kept:";
const { user, csrf } = document.body.dataset;
const notices = document.getElementById("notices");

const token = () => document.cookie.split("; ").find((one) => one.startsWith(`${csrf}=`))?.slice(csrf.length + 1);

// Somebody who has signed in again in another tab has another token there; somebody else must not act from this page.
document.addEventListener("htmx:config:request", ({ detail }) => {
  const { request } = detail.ctx;
  if (user) request.headers["X-Opened-By"] = user;
  if (!token() || !request.body?.set || request.method === "GET") return;
  request.headers["x-csrftoken"] = token();
  if (request.body.has("csrfmiddlewaretoken")) request.body.set("csrfmiddlewaretoken", token());
});

function button(words, act, kind) {
  const made = Object.assign(document.createElement("button"), { className: "button", type: "button", textContent: words });
  if (kind) made.dataset.kind = kind;
  made.addEventListener("click", act);
  return made;
}

function offer() {
  for (const key of Object.keys(localStorage).filter((one) => one.startsWith(PREFIX))) {
    const kept = JSON.parse(localStorage.getItem(key));
    if (kept.user !== user || document.querySelector(`[data-kept="${CSS.escape(key)}"]`)) continue;
    const notice = document.createElement("p");
    notice.className = "notice";
    notice.dataset.kept = key;
    const said = kept.body.find(([name, value]) => name === "comment" && value);
    notice.append(`Not sent, there was no network: “${kept.words}” for ${kept.title}${said ? `, with “${said[1]}”` : ""}. It is kept here. `);
    notice.append(button("Send it now", () => send(key, kept, notice)), " ", button("Forget it", () => forget(key), "quiet"));
    notices.append(notice);
  }
}

function forget(key) {
  localStorage.removeItem(key);
  document.querySelector(`[data-kept="${CSS.escape(key)}"]`)?.remove();
}

// It is forgotten only when the server has answered, and the answer is on the page.
async function send(key, kept, notice) {
  const headers = { "HX-Request": "true", "HX-Target": "section#gate-pane", "x-csrftoken": token() ?? "", "X-Opened-By": user };
  const answer = await fetch(kept.action, { method: "POST", headers, body: new URLSearchParams(kept.body) }).catch(() => null);
  if (!answer || answer.headers.get("HX-Retarget") || answer.status >= 500) {
    notice.firstChild.textContent = answer ? "It could not be sent: sign in again, then try once more. It is kept here. " : "Still no network. It is kept here. ";
    return;
  }
  forget(key);
  const pane = document.getElementById("gate-pane");
  if (!pane) return location.assign(answer.redirected ? answer.url : kept.action.replace(/decisions\/|bypass\/|comments\//, ""));
  pane.innerHTML = await answer.text();
  htmx.process(pane);
  document.dispatchEvent(new CustomEvent("holdfast:pane"));
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

// What was sent by hand meanwhile is not offered any more; nor does a notice of before stand over what has been sent since.
document.addEventListener("htmx:after:swap", ({ detail }) => {
  const { request, response } = detail.ctx ?? {};
  if (request?.method !== "POST" || !response || response.status >= 400) return;
  forget(PREFIX + request.action);
  for (const old of notices.querySelectorAll(".notice:not([data-kept])")) old.remove();
});
offer();
