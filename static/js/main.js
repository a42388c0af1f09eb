// One behaviour a file; every page works without them.
import "./local-time.js";
import "./live-tail.js";
import "./progress.js";
import "./run-news.js";
import "./gate-news.js";
import "./state-follow.js";
import "./branches-follow.js";
import "./copy.js";
import "./forget.js";
import "./shortcuts.js";
import "./kept-decision.js";
import "./undo.js";
import "./pane.js";
import "./drafts.js";
import "./presence.js";
import "./inbox-count.js";
import "./browser-notices.js";
