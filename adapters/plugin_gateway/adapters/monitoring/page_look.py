"""How the status page looks, how it refreshes itself, and the policy that allows a browser nothing else."""

from base64 import b64encode
from hashlib import sha256

REFRESH = 10
"""Seconds between two refreshes."""

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --tile: #f3f5f7; --text: #1b1f24; --soft: #57606a; --line: #c9d1d9;
  --good: #116329; --bad: #b3201a; --wait: #7a4b00; --link: #0550ae }
@media (prefers-color-scheme: dark) {
  :root { --page: #0e1116; --tile: #1a2027; --text: #e8ebee; --soft: #aab4be; --line: #3b444e;
    --good: #6fdc8c; --bad: #ff9d95; --wait: #f0c060; --link: #8cbcff }
}
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem;
  background: var(--page); color: var(--text); overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.1rem; margin: 1.6rem 0 .5rem }
h3 { font-size: 1rem; margin: 0 } p { margin: .25rem 0 } a { color: var(--link) }
code { font-size: .85em } summary { cursor: pointer } summary, .soft { color: var(--soft) }
.sum { font-size: 1.1rem; font-weight: 600 }
.healthy, .open { color: var(--good) } .unhealthy, .failed { color: var(--bad) }
.probation, .wait { color: var(--wait) }
.problem { border-left: 4px solid var(--bad); padding: .3rem .8rem; background: var(--tile) }
.tiles { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)) }
.tile { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .7rem; background: var(--tile); min-width: 0 }
.tile h3 { display: flex; flex-wrap: wrap; gap: 0 .6rem } .tile .soft { font-size: .85rem }
.sick { grid-column: 1 / -1; border-left: 4px solid var(--bad) } .todo { font-weight: 600 }
.parts { list-style: none; padding: 0; margin: .3rem 0 0; font-size: .85rem }
.parts li { border-top: 1px solid var(--line); padding: .1rem 0 }
svg { display: block; width: 100%; height: 1.4rem; background: var(--line) }
.shut { fill: var(--tile) } .on { fill: var(--good) } .ill { fill: var(--bad) }
.mark { fill: var(--text) } .fault { fill: var(--bad) }
.scale { display: flex; justify-content: space-between; color: var(--soft); font-size: .85rem }
nav { margin-top: 1.6rem; display: flex; flex-wrap: wrap; gap: .3rem 1rem }
ol { list-style: none; padding-left: 0; margin: .3rem 0 } time { color: var(--soft); margin-right: .6rem }
#away { display: none } .away #away { display: block; position: sticky; top: 0 }
"""
"""Colours are variables, so that a test can compare each with what is behind it."""

SCRIPT = f"""
setInterval(async () => {{
  if (document.hidden || !getSelection().isCollapsed) return;
  try {{
    const answer = await fetch(location.href, {{ signal: AbortSignal.timeout(5000) }});
    if (!answer.ok) throw answer;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const each of document.querySelectorAll("details[open]")) {{
      const same = fresh.getElementById(each.id);
      if (same) same.open = true;
    }}
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    document.title = fresh.title;
    document.body.classList.remove("away");
  }} catch {{ document.body.classList.add("away"); }}
}}, {REFRESH * 1000});
"""
"""Replaces the content by that of a new answer, unless nobody looks or somebody selects text. What was opened stays."""


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The content security policy of the page: its own style and script, and its own answers."""

HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<link rel=icon href='data:,'>"
    f"<noscript><meta http-equiv=refresh content={REFRESH}></noscript><style>{STYLE}</style>"
)
"""What stands before the title. Without scripts the browser loads the whole page again."""
TAIL = f"<script>{SCRIPT}</script>\n</html>\n"
"""What stands behind the content."""
